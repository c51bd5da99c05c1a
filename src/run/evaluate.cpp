#include "src/run/evaluate.h"

#include "comm/agreement.h"
#include "src/data/class_names.h"
#include "src/network/loss_place.h"

namespace lockstep {

OpenedEvaluation open_evaluation(const std::string& checkpoint, const EvaluateOptions& options,
                                 TrainedModel& model) {
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
  OpenedEvaluation opened;
  opened.dataset = std::make_unique<Dataset>(open_source(source, named_targets(job)));
  opened.fields = find_fields(*opened.dataset, source);
  check_class_names(options.data, opened.dataset->class_names(), model.contract.class_names);
  check_vocabularies(*opened.dataset, opened.fields, model.contract);
  return opened;
}

Evaluation evaluate(const std::string& checkpoint, const EvaluateOptions& options, Communicator& comm) {
  Evaluation evaluation;
  TrainedModel& model = evaluation.model;
  OpenedEvaluation opened;
  check_on_root(comm, [&] { opened = open_evaluation(checkpoint, options, model); });
  all_or_none(comm, [&] {
    if (!comm.is_root()) opened = open_evaluation(checkpoint, options, model);
  });
  set_compute_threads(model.job.threads);
  if (model.graph.states().empty()) {
    share_micro_batches(model.job, comm.size());
  } else {  // how many streams there are decides where they begin
    check_on_root(comm, [&] { check_rank_count(model.job, comm.size()); });
    model.job.reduction = Reduction::kNative;
  }
  Validator validator(model.job, model.graph, *model.arena, *opened.dataset, opened.fields, model.contract,
                      comm);
  evaluation.result = validator.run();
  return evaluation;
}

}  // namespace lockstep
