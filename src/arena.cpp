#include "src/arena.h"

#include <algorithm>

namespace lockstep {

namespace {
int64_t align_up(int64_t n) {
  return (n + ParameterArena::kAlignment - 1) / ParameterArena::kAlignment * ParameterArena::kAlignment;
}
}  // namespace

ParameterArena::ParameterArena(const Graph& graph, Device device) {
  for (int v = graph.size() - 1; v >= 0; --v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer) continue;
    int index = 0;
    for (const ParameterSpec& spec : vertex.layer->parameters(graph.input_shapes(v))) {
      segments_.push_back({vertex.name + "." + spec.name, spec.shape, n_elements_, v, index++, spec});
      n_elements_ += align_up(spec.shape.n_elements());
    }
  }
  weights_ = Memory(device, n_elements_ * int64_t{sizeof(float)});
}

std::vector<const Segment*> ParameterArena::of_vertex(int vertex) const {
  std::vector<const Segment*> found;
  for (const Segment& segment : segments_) {
    if (segment.vertex == vertex) found.push_back(&segment);
  }
  std::sort(found.begin(), found.end(),
            [](const Segment* a, const Segment* b) { return a->index < b->index; });
  return found;
}

int64_t ParameterArena::n_parameters() const {
  int64_t n = 0;
  for (const Segment& segment : segments_) n += segment.n_elements();
  return n;
}

Memory ParameterArena::make_parallel() const {
  return Memory(device(), n_elements_ * int64_t{sizeof(float)});
}

std::vector<int64_t> ParameterArena::borders() const {
  std::vector<int64_t> result;
  for (const Segment& segment : segments_) result.push_back(segment.offset);
  if (result.empty()) result.push_back(0);
  result.push_back(n_elements_);
  return result;
}

}  // namespace lockstep
