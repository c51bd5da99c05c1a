#include "jobs/job_graph.h"

#include <filesystem>

#include "kernels/device.h"
#include "src/data/data.h"
#include "src/update/optimizer.h"
#include "src/update/parameter_groups.h"

namespace lockstep {

JobGraph::JobGraph(const Job& job) {
  if (!job.train || (job.train->places.empty() && !std::filesystem::exists(job.train->path))) {
    graph = build_graph(job, {});
    freeze_groups(job.optimizer.groups, graph);
    return;
  }
  const JobData data = open_data(job);
  graph = build_graph(job, data.contract);
  freeze_groups(job.optimizer.groups, graph);
  augmentation = make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
}

int64_t checkpoint_bytes(const Job& job) {
  const SizesOnly sizes_only;
  const JobGraph built(job);
  const ParameterArena arena(built.graph, job.device);
  const Optimizer optimizer(job.optimizer, arena,
                            with_states(job.optimizer, arena, arena.n_before_trunk(built.graph)), true);
  return 4 * arena.n_elements() + optimizer.state_bytes();
}

}  // namespace lockstep
