#include "src/network/graph.h"

#include <fmt/format.h>

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

}  // namespace

int Graph::add_input(const std::string& name, const Shape& shape) {
  if (find(name) >= 0)
    throw Error("input '" + name + "'", "the name is used twice", "give each its own name");
  check_size("input '" + name + "'", "a sample", shape);
  vertices_.push_back({name, nullptr, {}, shape, size(), -1});
  return size() - 1;
}

int Graph::add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs,
               int shares) {
  if (find(name) >= 0)
    throw Error("layer '" + name + "'", "the name is used twice", "give each layer its own name");
  Vertex vertex{name, std::move(layer), std::move(inputs), {}, shares >= 0 ? shares : size(), -1};
  std::vector<Shape> src;
  std::string readers;
  for (int i : vertex.inputs) {
    src.push_back(vertices_[i].shape);
    readers += (readers.empty() ? "" : ", ") + fmt::format("'{}'", vertices_[i].name);
  }
  const std::string where = fmt::format("layer '{}' ({}) after {}", name, vertex.layer->type(), readers);
  const int n = static_cast<int>(src.size()), min = vertex.layer->min_inputs(),
            max = vertex.layer->max_inputs();
  if (n < min || n > max) {
    throw Error(
        where, fmt::format("it reads {}, not {}", count_text(min, max), n),
        n < min ? "name what it reads: from: [a, b]" : "join them first, for instance with concat or add");
  }
  if (size() >= kMaxLayers)
    throw Error(where, fmt::format("the model has more than {} layers", kMaxLayers), "make it less deep");
  try {
    vertex.shape = vertex.layer->infer(src);
  } catch (const Error& e) {
    throw Error(where, e.reason(), e.remedy());
  }
  check_size(where, "its value", vertex.shape);
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

int Graph::append(std::shared_ptr<const Layer> layer, const std::string& name) {
  if (!name.empty()) return add(name, std::move(layer), {size() - 1});
  int number = 1;
  for (const Vertex& other : vertices_) number += other.layer && other.layer->type() == layer->type();
  const std::string numbered = layer->type() + std::to_string(number);
  return add(numbered, std::move(layer), {size() - 1});
}

void Graph::recompute(const std::vector<int>& vertices) {
  for (int v : vertices) vertices_[v].recompute = n_recompute_;
  ++n_recompute_;
}

std::vector<int> Graph::inputs() const {
  std::vector<int> found;
  for (int v = 0; v < size(); ++v) {
    if (!vertices_[v].layer) found.push_back(v);
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

std::vector<Shape> Graph::input_shapes(int vertex) const {
  std::vector<Shape> shapes;
  for (int i : vertices_[vertex].inputs) shapes.push_back(vertices_[i].shape);
  return shapes;
}

std::vector<ParameterSpec> Graph::parameters(int vertex) const {
  const Vertex& v = vertices_[vertex];
  if (!v.layer || v.parameters_of != vertex) return {};
  return v.layer->parameters(input_shapes(vertex));
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
