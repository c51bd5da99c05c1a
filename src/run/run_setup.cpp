#include "src/run/run_setup.h"

#include "comm/activity.h"
#include "comm/agreement.h"
#include "src/data/label_range.h"
#include "src/network/loss_place.h"
#include "src/step/batch_statistics.h"

namespace lockstep {

RunSetup::RunSetup(const Job& given, Communicator& comm) : job(given) {
  const auto build = [&] {
    if (!job.train)
      throw Error("job " + job.name, "there is no data to train on", "add data: {train: {path: FOLDER}}");
    data = open_data(job);
    use_class_counts(data.contract, job);
    graph = build_graph(job, data.contract);
    freeze_groups(job.optimizer.groups, graph);
    const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
    job.metrics.check(output);
    check_groups(job.optimizer.groups, graph);
    check_mixing(job, graph);
    if (job.shard_optimizer && comm.size() > 1) check_sharing(job.optimizer);
    check_init(job.init, graph);
    augmentation = make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
    check_batch_statistics(graph, job, data.train->n_samples());
    const LoaderOptions loading = loader_options(job, 0, 1);
    shorter = sequence_graphs(job, data.contract, graph, *data.train, loading);
    for (Graph& one : shorter) freeze_groups(job.optimizer.groups, one);
    if (!shorter.empty()) graph = std::move(shorter.back()), shorter.pop_back();
    steps_per_epoch = lockstep::steps_per_epoch(loading, *data.train);
    if (!graph.states().empty() && !job.local_checkpoints.folder.empty())
      throw Error("checkpoint.local",
                  "one rank writes a local copy, and none holds the states of all micro-batches",
                  "leave out checkpoint.local, or state: carried");
    if (data.contract.n_classes == 0 && job.loss.is_classification())
      data.contract.n_classes = job.loss.n_classes(output);
  };
  check_on_root(comm, [&] {
    check_rank_count(job, comm.size());
    check_thread_count(job);
    build();
  });
  all_or_none(comm, [&] {
    if (!comm.is_root()) build();
  });
  const Work work("comparing the data with its checksums");
  all_or_none(comm, [&] { verify_data(job, data, comm.rank(), comm.size()); });
  check_on_root(comm, [&] {
    identity = identify(job, data);
    surplus_classes = lockstep::surplus_classes(job, data, graph);
  });
  for (std::string* text : {&identity.train, &identity.validation, &identity.measure})
    *text = comm.broadcast_string(*text);
}

LoaderOptions RunSetup::loader_options(const Job& of, int rank, int size) const {
  return make_loader_options(of, *data.train, data.train_fields, graph, true, data.contract.normalization,
                             rank, size, augmentation.get());
}

}  // namespace lockstep
