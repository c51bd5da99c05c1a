#include "src/network/arena.h"

namespace lockstep {

namespace {
int64_t align_up(int64_t n) {
  return (n + ParameterArena::kAlignment - 1) / ParameterArena::kAlignment * ParameterArena::kAlignment;
}
}  // namespace

ParameterArena::ParameterArena(const Graph& graph, Device device) {
  for (int v = graph.size() - 1; v >= 0; --v) {
    int index = 0;
    for (const ParameterSpec& spec : graph.parameters(v)) {
      const std::string name = graph.vertex(v).parameters_name + "." + spec.name;
      by_name_[name] = static_cast<int>(segments_.size());
      segments_.push_back({name, spec.shape, n_elements_, v, index++, spec});
      n_elements_ += align_up(spec.shape.n_elements());
    }
  }
  weights_ = make_array(device, n_elements_);
  host_ = std::make_unique<HostMirror>(weights_);
}

std::vector<const Segment*> ParameterArena::of_vertex(const Graph& graph, int vertex) const {
  std::vector<const Segment*> found;
  const int owner = graph.vertex(vertex).parameters_of;
  const Vertex& from = graph.vertex(owner);
  if (!from.layer) return found;
  for (const ParameterSpec& spec : from.layer->parameters(graph.input_shapes(owner))) {
    const bool is_tied = from.weight_of >= 0 && spec.name == "weight";
    const std::string& of = is_tied ? graph.vertex(from.weight_of).parameters_name : from.parameters_name;
    found.push_back(&segments_[by_name_.at(of + "." + spec.name)]);
  }
  return found;
}

int64_t ParameterArena::n_parameters() const {
  int64_t n = 0;
  for (const Segment& segment : segments_) n += segment.is_statistic() ? 0 : segment.n_elements();
  return n;
}

Memory ParameterArena::make_array(Device device, int64_t n_elements) {
  try {
    return Memory(device, n_elements * int64_t{sizeof(float)});
  } catch (const OutOfMemory& error) {
    throw OutOfMemory(
        error.device(), error.n_bytes(), error.where(),
        error.reason() + ": weights, their gradients and each state of the optimizer are arrays of that size",
        "take a smaller model, an optimizer with fewer states (sgd), share its states among ranks "
        "(batch.shard_optimizer: true), or a device with more memory");
  }
}

int64_t ParameterArena::n_before_trunk(const Graph& graph) const {
  const std::vector<bool> is_trunk = graph.trunk();
  int64_t last = 0;
  for (const Segment& segment : segments_)
    if (!is_trunk[static_cast<size_t>(segment.vertex)]) last = segment.offset + segment.n_elements();
  const std::vector<int64_t> ends = borders();
  return *std::lower_bound(ends.begin(), ends.end(), last);
}

std::vector<int64_t> ParameterArena::borders() const {
  std::vector<int64_t> result;
  for (const Segment& segment : segments_) result.push_back(segment.offset);
  if (result.empty()) result.push_back(0);
  result.push_back(n_elements_);
  return result;
}

}  // namespace lockstep
