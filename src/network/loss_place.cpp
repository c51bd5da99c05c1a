#include "src/network/loss_place.h"

#include <fmt/format.h>

namespace lockstep {

int loss_vertex(const Graph& graph, const LossSpec& loss) {
  if (loss.of.empty()) return graph.output();
  const int vertex = graph.find(loss.of);
  if (vertex < 0) {
    const std::string near = nearest_word(loss.of, graph.names());
    throw Error("loss",
                fmt::format("the graph has no layer '{}'{}", loss.of,
                            near.empty() ? "" : "; did you mean '" + near + "'?"),
                "`of` names the layer whose output the loss judges");
  }
  return vertex;
}

int loss_target_input(const Graph& graph, const LossSpec& loss) {
  const int vertex = loss.target.empty() ? -1 : graph.find(loss.target);
  return vertex >= 0 && !graph.vertex(vertex).layer ? vertex : -1;
}

size_t count_targets(const Graph& graph, const std::vector<LossSpec>& losses) {
  size_t n = 0;
  for (const LossSpec& loss : losses) n += loss_target_input(graph, loss) < 0;
  return n;
}

void check_all_read(const Graph& graph, const std::vector<LossSpec>& losses) {
  std::vector<bool> read(graph.size());
  for (const Vertex& vertex : graph.vertices()) {
    for (int i : vertex.inputs) read[i] = true;
  }
  read[graph.output()] = true;
  for (int v : graph.shown()) read[v] = true;
  for (const LossSpec& loss : losses) {
    read[loss_vertex(graph, loss)] = true;
    if (const int input = loss_target_input(graph, loss); input >= 0) read[input] = true;
  }
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (read[v] || vertex.is_part || vertex.output > 0 || vertex.lengths_of >= 0) continue;
    // Of a layer that stands for several it is enough that one of them is read.
    bool has_read_part = false;
    for (int other = 0; other < graph.size(); ++other)
      has_read_part =
          has_read_part || (read[other] && graph.vertex(other).name.starts_with(vertex.name + "."));
    if (has_read_part) continue;
    throw Error(fmt::format("{} '{}'", graph.vertex(v).layer ? "layer" : "input", graph.vertex(v).name),
                "nothing reads it",
                "remove it, let a layer read it, or name it in model.output or in a loss's `of`");
  }
}

}  // namespace lockstep
