#include "src/network/graph.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/network/model_limits.h"

namespace lockstep {

namespace {

/// "one input", "two or more inputs", …
std::string count_text(int min, int max) {
  if (max > min) return fmt::format("at least {} inputs", min);
  return min == 1 ? "one input" : fmt::format("{} inputs", min);
}

/// Products of two sizes that pass fit int64.
void check_size(const std::string& where, const std::string& of, const Shape& shape) {
  int64_t n_elements = 1;
  bool fits = true;
  for (const int64_t extent : shape)
    fits = fits && !__builtin_mul_overflow(n_elements, extent, &n_elements) && n_elements <= kMaxElements;
  if (!fits)
    throw Error(where, fmt::format("{} of shape {} has more than {} elements", of, shape.str(), kMaxElements),
                "use smaller extents");
}

/// One of several values that a layer gives.
class OutputLayer : public Layer {
 public:
  explicit OutputLayer(Shape shape) : shape_(shape) {}
  std::string type() const override { return "output"; }
  Shape infer(std::span<const Shape>) const override { return shape_; }
  std::unique_ptr<Op> lower(const LowerContext&) const override { return nullptr; }

 private:
  Shape shape_;
};

}  // namespace

int Graph::add_input(const std::string& name, const Shape& shape) {
  if (find(name) >= 0)
    throw Error("input '" + name + "'", "the name is used twice", "give each its own name");
  check_size("input '" + name + "'", "a sample", shape);
  vertices_.push_back({name, nullptr, {}, shape, size(), -1, -1, name});
  return size() - 1;
}

int Graph::add_lengths(int input) {
  const int lengths = add_input(vertices_[input].name + ".length", {});
  vertices_[lengths].dtype = DType::kInt32;
  vertices_[lengths].lengths_of = input;
  vertices_[input].lengths = lengths;
  return lengths;
}

int Graph::add_state(const std::string& name, const Shape& shape) {
  const int state = add_input(name, shape);
  vertices_[state].state_of = state;
  return state;
}

int Graph::add_zeros(const std::string& name, const Shape& shape) {
  const int zeros = add_input(name, shape);
  vertices_[zeros].is_zero = true;
  return zeros;
}

int Graph::output_of(int vertex, const std::string& name) {
  const std::string full = vertices_[vertex].name + "." + name;
  if (const int found = find(full); found >= 0) return found;
  const std::vector<std::string> names = vertices_[vertex].layer->further_outputs();
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) {
    std::string known;
    for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
    throw Error("layer '" + vertices_[vertex].name + "'", "it has no output '" + name + "'",
                names.empty() ? "read the layer itself" : "it has " + known + " beside its value");
  }
  const int output = static_cast<int>(at - names.begin()) + 1;
  Vertex pick{
      full,
      std::make_shared<OutputLayer>(vertices_[vertex].layer->infer_further(output, input_shapes(vertex))),
      {vertex},
      {},
      size(),
      -1,
      vertices_[vertex].recompute,
      full};
  pick.shape = pick.layer->infer({});
  pick.output = output;
  vertices_.push_back(std::move(pick));
  return size() - 1;
}

bool Graph::stands_by_itself(int vertex) const {
  const Vertex& v = vertices_[vertex];
  return v.output == 0 && v.state_of < 0 && !v.is_zero && v.lengths_of < 0;
}

int Graph::output() const {
  int v = output_ >= 0 ? output_ : size() - 1;
  while (output_ < 0 && v > 0 && !stands_by_itself(v)) --v;
  return v;
}

void Graph::read_input(const Vertex& reader, int slot, const std::string& where) {
  Vertex& input = vertices_[reader.inputs[slot]];
  if (reader.layer->lengths().at == slot && input.lengths_of >= 0) return;
  const int64_t n_ids = reader.layer->reads_ids(slot);
  const int self = reader.inputs[slot];
  const bool has_ids = input.dtype == DType::kInt32;
  if (n_ids == 0 && !has_ids) return;
  bool is_read = false;
  for (const Vertex& other : vertices_)
    is_read = is_read || std::find(other.inputs.begin(), other.inputs.end(), self) != other.inputs.end();
  if (n_ids > 0 && (input.layer || input.state_of >= 0 || (is_read && !has_ids)))
    throw Error(where, fmt::format("it reads ids, and '{}' has numbers", input.name),
                "let it read an input of the model, which ids come from");
  if (n_ids == 0 && has_ids)
    throw Error(where, fmt::format("'{}' has ids, which are names and no quantities", input.name),
                "put 'embedding' or 'one_hot' before it");
  input.dtype = DType::kInt32;
  input.n_ids = input.n_ids > 0 ? std::min(input.n_ids, n_ids) : n_ids;
}

int Graph::add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs,
               int shares, const std::string& parameters_name) {
  if (find(name) >= 0)
    throw Error("layer '" + name + "'", "the name is used twice", "give each layer its own name");
  const int parts = add_parts([&] { return layer->expand(*this, name, inputs); });
  if (parts >= 0) return parts;
  const Layer::Lengths lengths = layer->lengths();
  if (lengths.of >= 0 && lengths.of < static_cast<int>(inputs.size())) {
    const int of_sequence = vertices_[inputs[lengths.of]].lengths;
    if (of_sequence >= 0) inputs.insert(inputs.begin() + lengths.at, of_sequence);
  }
  Vertex vertex{name,
                std::move(layer),
                std::move(inputs),
                {},
                shares >= 0 ? shares : size(),
                -1,
                -1,
                parameters_name.empty() ? name : parameters_name};
  if (vertex.layer->keeps_steps() && !vertex.inputs.empty())
    vertex.lengths = vertices_[vertex.inputs[0]].lengths;
  std::vector<Shape> src;
  std::string readers;
  for (int i : vertex.inputs) {
    src.push_back(vertices_[i].shape);
    readers += (readers.empty() ? "" : ", ") + fmt::format("'{}'", vertices_[i].name);
  }
  const std::string where = fmt::format("layer '{}' ({}) after {}", name, vertex.layer->type(), readers);
  const bool has_lengths = lengths.of >= 0 && lengths.at < static_cast<int>(vertex.inputs.size()) &&
                           vertices_[vertex.inputs[lengths.at]].lengths_of >= 0;
  const int n = static_cast<int>(src.size()) - has_lengths, min = vertex.layer->min_inputs(),
            max = vertex.layer->max_inputs();
  if (n < min || n > max) {
    throw Error(
        where, fmt::format("it reads {}, not {}", count_text(min, max), n),
        n < min ? "name what it reads: from: [a, b]" : "join them first, for instance with concat or add");
  }
  if (size() >= kMaxLayers)
    throw Error(where, fmt::format("the model has more than {} layers", kMaxLayers), "make it less deep");
  for (int slot = 0; slot < static_cast<int>(src.size()); ++slot) read_input(vertex, slot, where);
  try {
    vertex.shape = vertex.layer->infer(src);
  } catch (const Error& e) {
    throw Error(where, e.reason(), e.remedy());
  }
  check_size(where, "its value", vertex.shape);
  vertex.is_part = n_open_ > 0;
  for (const ParameterSpec& spec : vertex.layer->parameters(src))
    check_size(where, "parameter '" + spec.name + "'", spec.shape);
  vertices_.push_back(std::move(vertex));
  if (shares < 0) return size() - 1;

  const std::vector<ParameterSpec> own = vertices_.back().layer->parameters(src), others = parameters(shares);
  bool equal = own.size() == others.size() && !own.empty();
  for (size_t i = 0; equal && i < own.size(); ++i) {
    equal = own[i].name == others[i].name && own[i].shape == others[i].shape;
    if (own[i].role == ParameterSpec::Role::kStatistic)
      throw Error(where, "running averages cannot be shared", "give this layer its own parameters");
  }
  if (!equal) {
    throw Error(
        where,
        fmt::format("it cannot use the parameters of '{}': names or shapes differ", vertices_[shares].name),
        "share between layers of one type, options and input shape");
  }
  return size() - 1;
}

void Graph::tie(int vertex, int owner) {
  const auto weight_of = [&](int v) {
    const std::vector<ParameterSpec> specs = parameters(v);
    const auto found = std::find_if(specs.begin(), specs.end(),
                                    [](const ParameterSpec& spec) { return spec.name == "weight"; });
    return found == specs.end() ? Shape{0} : found->shape;
  };
  const Shape own = weight_of(vertex), other = weight_of(owner);
  if (own != other || own.n_elements() == 0)
    throw Error("layer '" + vertices_[vertex].name + "'",
                fmt::format("it cannot use the weight of '{}': shapes {} and {} differ",
                            vertices_[owner].name, own.str(), other.str()),
                "the weight of an embedding (vocabulary, width) fits an affine layer of as many features "
                "behind vectors of that width");
  vertices_[vertex].weight_of = owner;
}

void Graph::show_requested() {
  shown_.insert(shown_.end(), on_request_.begin(), on_request_.end());
  on_request_.clear();
}

int Graph::append(std::shared_ptr<const Layer> layer, const std::string& name) {
  int before = size() - 1;
  while (before > 0 && !stands_by_itself(before)) --before;
  if (!name.empty()) return add(name, std::move(layer), {before});
  int number = 1;
  for (const Vertex& other : vertices_) number += other.layer && other.layer->type() == layer->type();
  const std::string numbered = layer->type() + std::to_string(number);
  return add(numbered, std::move(layer), {before});
}

void Graph::recompute(const std::vector<int>& vertices) {
  for (int v : vertices) vertices_[v].recompute = n_recompute_;
  ++n_recompute_;
}

std::vector<int> Graph::inputs() const {
  std::vector<int> found;
  for (int v = 0; v < size(); ++v) {
    const Vertex& vertex = vertices_[v];
    if (!vertex.layer && vertex.state_of < 0 && !vertex.is_zero) found.push_back(v);
  }
  return found;
}

std::vector<int> Graph::states() const {
  std::vector<int> found;
  for (int v = 0; v < size(); ++v) {
    if (vertices_[v].state_of >= 0) found.push_back(v);
  }
  return found;
}

int Graph::find(const std::string& name) const {
  for (int v = 0; v < size(); ++v) {
    if (vertices_[v].name == name) return v;
  }
  return -1;
}

std::vector<std::string> Graph::names() const {
  std::vector<std::string> result;
  for (const Vertex& vertex : vertices_) result.push_back(vertex.name);
  return result;
}

std::vector<bool> Graph::trunk() const {
  std::vector<bool> is_trunk(vertices_.size()), behind_trained(vertices_.size());
  for (int v = 0; v < size(); ++v) {
    const Vertex& vertex = vertices_[v];
    for (const int i : vertex.inputs) behind_trained[v] = behind_trained[v] || behind_trained[i];
    if (!vertex.layer || vertex.output > 0 || vertex.layer->parameters(input_shapes(v)).empty()) continue;
    const bool own_frozen = vertices_[vertex.parameters_of].is_frozen || parameters(v).empty();
    const bool is_frozen = vertex.weight_of >= 0 ? own_frozen && vertices_[vertex.weight_of].is_frozen
                                                 : vertices_[vertex.parameters_of].is_frozen;
    is_trunk[v] = is_frozen && !behind_trained[v];
    behind_trained[v] = behind_trained[v] || !is_frozen;
  }
  return is_trunk;
}

std::vector<Shape> Graph::input_shapes(int vertex) const {
  std::vector<Shape> shapes;
  for (int i : vertices_[vertex].inputs) shapes.push_back(vertices_[i].shape);
  return shapes;
}

std::vector<ParameterSpec> Graph::parameters(int vertex) const {
  const Vertex& v = vertices_[vertex];
  if (!v.layer || v.parameters_of != vertex) return {};
  std::vector<ParameterSpec> specs = v.layer->parameters(input_shapes(vertex));
  if (v.weight_of >= 0) std::erase_if(specs, [](const ParameterSpec& spec) { return spec.name == "weight"; });
  return specs;
}

int64_t Graph::n_parameters() const {
  int64_t n = 0;
  for (int v = 0; v < size(); ++v) {
    for (const ParameterSpec& spec : parameters(v)) {
      if (spec.role != ParameterSpec::Role::kStatistic) n += spec.shape.n_elements();
    }
  }
  return n;
}

int64_t Graph::multiply_adds() const {
  int64_t n = 0;
  for (int v = 0; v < size(); ++v) {
    if (!vertices_[v].layer) continue;
    if (__builtin_add_overflow(n, vertices_[v].layer->multiply_adds(input_shapes(v)), &n))
      throw Error("the model", "needs more than 2^63 multiplications per sample", "make it smaller");
  }
  return n;
}

}  // namespace lockstep
