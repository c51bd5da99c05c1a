#include "jobs/job_graph.h"

#include <filesystem>

#include "src/data/data.h"
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

}  // namespace lockstep
