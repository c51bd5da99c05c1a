#include "src/run/evaluate.h"

#include <memory>

#include "comm/agreement.h"
#include "src/data/class_names.h"
#include "src/network/loss_place.h"

namespace lockstep {

Evaluation evaluate(const std::string& checkpoint, const EvaluateOptions& options, Communicator& comm) {
  Evaluation evaluation;
  TrainedModel& model = evaluation.model;
  std::unique_ptr<Dataset> dataset;
  DataFields fields;
  const auto open = [&] {
    model = load_model(checkpoint, options.average);
    Job& job = model.job;
    if (!options.metrics.empty())
      job.metrics = read_metrics(
          Config::from_text("metrics: [" + options.metrics + "]", "the metrics asked for").at("metrics"),
          job.losses());
    job.metrics.check(model.graph.vertex(loss_vertex(model.graph, job.loss)).shape);
    DataSource source = source_at(job.train.value_or(DataSource{}), options.data);
    if (!options.input.empty()) source.input = options.input;
    if (!options.target.empty()) source.target = options.target;
    if (!options.layout.empty()) source.layout = options.layout;
    dataset = std::make_unique<Dataset>(open_source(source, named_targets(job)));
    fields = find_fields(*dataset, source);
    check_class_names(options.data, dataset->class_names(), model.contract.class_names);
    check_vocabularies(*dataset, fields, model.contract);
  };
  check_on_root(comm, open);
  all_or_none(comm, [&] {
    if (!comm.is_root()) open();
  });
  set_compute_threads(model.job.threads);
  if (model.graph.states().empty()) {
    share_micro_batches(model.job, comm.size());
  } else {  // how many streams there are decides where they begin
    check_on_root(comm, [&] { check_rank_count(model.job, comm.size()); });
    model.job.reduction = Reduction::kNative;
  }
  Validator validator(model.job, model.graph, *model.arena, *dataset, fields, model.contract, comm);
  evaluation.result = validator.run();
  return evaluation;
}

}  // namespace lockstep
