#include "src/network/onnx.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "io/files/checksum.h"

namespace lockstep {

/// The state of one export.
class OnnxWalk {
 public:
  OnnxWalk(const Graph& g, const ParameterArena& a)
      : graph(g), arena(a), values(static_cast<size_t>(g.size())) {}

  const Graph& graph;
  const ParameterArena& arena;
  OnnxNetwork network;
  std::vector<std::map<size_t, std::string>> values;  // of each vertex, by output
  std::map<const Segment*, std::string> initializers;
  std::map<std::string, std::string> known_constants;  // by type, shape and a hash of their content
  std::string batch_size;                              // [N], int64

  const float* host_weights(const Segment& segment) const {
    return arena.host().as<float>() + segment.offset;
  }
  std::string value_of(int vertex) const;
  void name_value(const std::string& from, const std::string& to, size_t first_node = 0);
  std::string samples();
  void add_inputs(const OnnxOptions& options);
  void add_outputs();
  void add_layers();
};

std::string OnnxWalk::value_of(int vertex) const {
  const Vertex& v = graph.vertex(vertex);
  if (v.output > 0) return values[static_cast<size_t>(v.inputs[0])].at(static_cast<size_t>(v.output));
  return values[static_cast<size_t>(vertex)].at(0);
}

std::string OnnxWalk::samples() {
  if (!batch_size.empty()) return batch_size;
  OnnxVertex at(*this, 0);
  const std::string shape = at.add("Shape", {network.model.inputs[0].name});
  batch_size = at.add("Slice", {shape, at.wholes({0}), at.wholes({1})});
  return batch_size;
}

namespace {

/// One value for all, one per channel (the first dimension), or one per number of a sample.
Shape shape_of_statistics(int64_t n, const Shape& sample) {
  if (n == 1) return {1};
  if (n != sample[0]) return sample;
  std::vector<int64_t> extents(static_cast<size_t>(sample.rank()), 1);
  extents[0] = n;
  return Shape(std::span<const int64_t>(extents));
}

}  // namespace

void OnnxWalk::add_inputs(const OnnxOptions& options) {
  bool is_first = true;
  const auto type_of = [](const Vertex& v) {
    return v.dtype == DType::kInt32 ? OnnxType::kInt32 : OnnxType::kFloat;
  };
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (vertex.layer || vertex.output > 0 || vertex.is_zero) continue;
    network.model.inputs.push_back({vertex.name, type_of(vertex), vertex.shape});
    std::string value = vertex.name;
    if (is_first && !options.mean.empty() && vertex.dtype == DType::kFloat32) {
      OnnxVertex at(*this, v);
      const Shape shape = shape_of_statistics(static_cast<int64_t>(options.mean.size()), vertex.shape);
      std::vector<float> factors;
      for (const float deviation : options.stddev) factors.push_back(1.0F / deviation);
      value = at.add("Mul",
                     {at.add("Sub", {value, at.constant(shape, options.mean)}), at.constant(shape, factors)});
    }
    is_first = false;
    values[static_cast<size_t>(v)][0] = value;
  }
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (vertex.layer || !vertex.is_zero || vertex.output > 0) continue;
    OnnxVertex at(*this, v);
    const std::vector<int64_t> extents(vertex.shape.begin(), vertex.shape.end());
    const std::string shape = extents.empty()
                                  ? samples()
                                  : at.add("Concat", {samples(), at.wholes(extents)}, {{"axis", int64_t{0}}});
    std::string zeros = at.add("ConstantOfShape", {shape});  // float 0
    if (vertex.dtype == DType::kInt32) zeros = at.cast(zeros, OnnxType::kInt32);
    values[static_cast<size_t>(v)][0] = zeros;
  }
}

void OnnxWalk::add_layers() {
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer || vertex.output > 0) continue;
    OnnxVertex at(*this, v);
    vertex.layer->to_onnx(at);
  }
}

void OnnxWalk::name_value(const std::string& from, const std::string& to, size_t first_node) {
  for (OnnxNode& node : std::span(network.model.nodes).subspan(first_node)) {
    std::replace(node.inputs.begin(), node.inputs.end(), from, to);
    std::replace(node.outputs.begin(), node.outputs.end(), from, to);
  }
}

void OnnxWalk::add_outputs() {
  const auto add = [&](const std::string& name, int v) {
    const std::string value = value_of(v);
    const auto is_made_here = [&](const OnnxNode& node) {
      return std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end();
    };
    const bool is_output = std::any_of(network.model.outputs.begin(), network.model.outputs.end(),
                                       [&](const OnnxValue& output) { return output.name == value; });
    if (value != name && !is_output &&
        std::any_of(network.model.nodes.begin(), network.model.nodes.end(), is_made_here)) {
      name_value(value, name);
      for (auto& of_vertex : values)
        for (auto& [output, known] : of_vertex)
          if (known == value) known = name;
    } else if (value != name) {
      network.model.nodes.push_back({"Identity", name, {value}, {name}, {}});
    }
    network.model.outputs.push_back({name, OnnxType::kFloat, graph.vertex(v).shape});
  };
  const int named = graph.find("output");
  add(named < 0 || named == graph.output() ? "output" : graph.vertex(graph.output()).name, graph.output());
  for (const int state : graph.states())
    add(graph.vertex(state).name + ".next", graph.vertex(state).state_of);
}

OnnxNetwork to_onnx(const Graph& graph, const ParameterArena& arena, const OnnxOptions& options) {
  OnnxWalk walk(graph, arena);
  walk.network.model.name = options.name;
  walk.network.model.producer_version = options.producer_version;
  walk.network.model.metadata = options.metadata;
  walk.add_inputs(options);
  walk.add_layers();
  walk.add_outputs();
  return std::move(walk.network);
}

OnnxVertex::OnnxVertex(OnnxWalk& walk, int vertex)
    : walk_(walk), vertex_(vertex), first_node_(walk.network.model.nodes.size()) {}

size_t OnnxVertex::n_inputs() const { return walk_.graph.vertex(vertex_).inputs.size(); }

std::string OnnxVertex::input(size_t i) const {
  return walk_.value_of(walk_.graph.vertex(vertex_).inputs[i]);
}

const Shape& OnnxVertex::shape(size_t i) const {
  return walk_.graph.vertex(walk_.graph.vertex(vertex_).inputs[i]).shape;
}
const Shape& OnnxVertex::output_shape() const { return walk_.graph.vertex(vertex_).shape; }

bool OnnxVertex::wants_output(size_t further) const {
  const auto& all = walk_.graph.vertices();
  return std::any_of(all.begin(), all.end(), [&](const Vertex& v) {
    return v.output == static_cast<int>(further) + 1 && v.inputs[0] == vertex_;
  });
}

std::string OnnxVertex::parameter(size_t i) const {
  const Segment* segment = walk_.arena.of_vertex(walk_.graph, vertex_)[i];
  std::string& name = walk_.initializers[segment];
  if (name.empty()) {
    name = segment->name;
    walk_.network.model.tensors.push_back(
        {name, segment->shape, OnnxType::kFloat, walk_.host_weights(*segment)});
  }
  return name;
}
std::span<const float> OnnxVertex::parameter_values(size_t i) const {
  const Segment* segment = walk_.arena.of_vertex(walk_.graph, vertex_)[i];
  return {walk_.host_weights(*segment), static_cast<size_t>(segment->n_elements())};
}

namespace {

/// Adds the values as a tensor of the file unless it has them: steps of a scan say the same again and again.
template <typename T>
std::string add_constant(OnnxNetwork& network, std::map<std::string, std::string>& known,
                         std::deque<std::vector<T>>& kept, const Shape& shape, OnnxType type,
                         std::vector<T> values) {
  const Hash128 hash = hash128(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  std::string& name =
      known[fmt::format("{} {} {:x} {:x}", static_cast<int>(type), shape.str(), hash.low, hash.high)];
  if (!name.empty()) return name;
  name = fmt::format("/constant_{}", known.size());
  kept.push_back(std::move(values));
  network.model.tensors.push_back({name, shape, type, kept.back().data()});
  return name;
}

}  // namespace

std::string OnnxVertex::constant(const Shape& shape, std::vector<float> values) {
  return add_constant(walk_.network, walk_.known_constants, walk_.network.reals, shape, OnnxType::kFloat,
                      std::move(values));
}
std::string OnnxVertex::wholes(std::vector<int64_t> values) {
  const Shape shape{static_cast<int64_t>(values.size())};
  return add_constant(walk_.network, walk_.known_constants, walk_.network.wholes, shape, OnnxType::kInt64,
                      std::move(values));
}
std::string OnnxVertex::whole(int64_t value) {
  return add_constant(walk_.network, walk_.known_constants, walk_.network.wholes, Shape{}, OnnxType::kInt64,
                      {value});
}
std::string OnnxVertex::truths(const Shape& shape, std::vector<uint8_t> values) {
  return add_constant(walk_.network, walk_.known_constants, walk_.network.truths, shape, OnnxType::kBool,
                      std::move(values));
}

std::string OnnxVertex::fresh(const std::string& op) {
  const int n = ++n_named_[op];
  return walk_.graph.vertex(vertex_).name + "/" + op + (n > 1 ? std::to_string(n) : "");
}

std::string OnnxVertex::add(const std::string& op, std::vector<std::string> inputs,
                            std::vector<OnnxAttribute> attributes, int further) {
  const std::string name = fresh(op);
  std::vector<std::string> outputs{name};
  for (int i = 1; i <= further; ++i) outputs.push_back(fmt::format("{}.{}", name, i));
  walk_.network.model.nodes.push_back(
      {op, name, std::move(inputs), std::move(outputs), std::move(attributes)});
  return name;
}

std::string OnnxVertex::reshape(const std::string& value, const Shape& sample) {
  std::vector<int64_t> extents{0};  // 0: as it is
  extents.insert(extents.end(), sample.begin(), sample.end());
  return add("Reshape", {value, wholes(extents)});
}
std::string OnnxVertex::transpose(const std::string& value, std::vector<int64_t> axes) {
  return add("Transpose", {value}, {{"perm", std::move(axes)}});
}
std::string OnnxVertex::unsqueeze(const std::string& value, int64_t axis) {
  return add("Unsqueeze", {value, wholes({axis})});
}
std::string OnnxVertex::squeeze(const std::string& value, int64_t axis) {
  return add("Squeeze", {value, wholes({axis})});
}

std::string OnnxVertex::cast(const std::string& value, OnnxType type) {
  return add("Cast", {value}, {{"to", static_cast<int64_t>(type)}});
}

std::string OnnxVertex::below_lengths(size_t slot, int64_t n) {
  std::vector<int64_t> places(static_cast<size_t>(n));
  std::iota(places.begin(), places.end(), 0);
  return add("Less", {wholes(places), unsqueeze(cast(input(slot), OnnxType::kInt64), 1)});
}

void OnnxVertex::set_output(const std::string& value, size_t further) {
  const std::string& name = walk_.graph.vertex(vertex_).name;
  const bool is_own = value.starts_with(name + "/");
  std::string final_name = value;
  if (is_own && further == 0) {
    final_name = name;
    walk_.name_value(value, name, first_node_);
  }
  walk_.values[static_cast<size_t>(vertex_)][further] = final_name;
}

void OnnxVertex::refuse(const std::string& reason, const std::string& remedy) const {
  const Vertex& vertex = walk_.graph.vertex(vertex_);
  throw Error(fmt::format("export: layer '{}' ({})", vertex.name, vertex.layer->type()), reason, remedy);
}

void Layer::to_onnx(OnnxVertex& vertex) const {
  vertex.refuse("it has no form in ONNX", "export the weights to safetensors, or take another layer");
}

}  // namespace lockstep
