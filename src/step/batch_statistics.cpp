#include "src/step/batch_statistics.h"

#include <fmt/format.h>

namespace lockstep {

void check_batch_statistics(const Graph& graph, const StepOptions& job, int64_t n_samples) {
  const std::vector<bool> is_trunk = graph.trunk();
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer || vertex.layer->type() != "batch_norm" || is_trunk[static_cast<size_t>(v)]) continue;
    if (vertex.shape.n_elements() != vertex.shape[0]) continue;  // more than one place per channel
    const bool synchronized = vertex.layer->synchronizes();
    const int64_t batch = synchronized ? job.global_batch : job.micro_batch;
    const char* key = synchronized ? "batch.global" : "batch.micro";
    const std::string where = fmt::format("layer '{}' (batch_norm)", vertex.name);
    const std::string needs =
        fmt::format("more than one value per channel is needed in training; a sample has one (shape {})",
                    vertex.shape.str());
    if (batch == 1)
      throw Error(where, fmt::format("{}, and {} is 1", needs, key),
                  fmt::format("set {} to 2 or more, or use layer_norm", key));
    if (n_samples % batch == 1)
      throw Error(
          where,
          fmt::format("{}, and {} = {} leaves one of the {} samples alone at the end of each epoch", needs,
                      key, batch, n_samples),
          fmt::format("choose a {} that leaves none or several, or train on one sample more or less", key));
  }
}

}  // namespace lockstep
