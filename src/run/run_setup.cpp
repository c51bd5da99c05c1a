#include "src/run/run_setup.h"

#include "comm/activity.h"
#include "comm/agreement.h"
#include "src/job/label_range.h"
#include "src/network/loss_place.h"
#include "src/step/batch_statistics.h"

namespace lockstep {

RunSetup::RunSetup(const Job& job, Communicator& comm) {
  const auto build = [&] {
    data = open_data(job);
    graph = build_graph(job, data.contract);
    const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
    job.metrics.check(output);
    augmentation = make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
    check_batch_statistics(graph, job, data.train->n_samples());
    loader_options(job, 0, 1);
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

LoaderOptions RunSetup::loader_options(const Job& job, int rank, int size) const {
  return make_loader_options(job, *data.train, data.train_fields, graph, true, data.contract.normalization,
                             rank, size, augmentation.get());
}

}  // namespace lockstep
