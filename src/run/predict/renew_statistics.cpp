#include "src/run/predict/renew_statistics.h"

#include <algorithm>

#include "src/plan/plan.h"

namespace lockstep {

int64_t renew_statistics(TrainedModel& model, const std::string& data, int64_t most_samples) {
  Job& job = model.job;
  if (!model.graph.states().empty())
    throw Error("--statistics", "is for networks that carry no state", "leave it out");
  job.reduction = Reduction::kNative;
  share_micro_batches(job, 1);
  const DataSource source = source_at(job.train.value_or(DataSource{}), data);
  const Dataset dataset = open_source(source, named_targets(job));
  const DataFields fields = find_fields(dataset, source);
  check_vocabularies(dataset, fields, model.contract);
  const Normalization& normalization = model.contract.normalization;
  const auto augmentation = make_augmentation(job, dataset, fields, model.graph, normalization);
  LoaderOptions loading =
      make_loader_options(job, dataset, fields, model.graph, true, normalization, 0, 1, augmentation.get());
  if (!sequence_graphs(job, model.contract, model.graph, dataset, loading).empty())
    throw Error("--statistics", "is for data whose samples are equally long", "leave it out");

  PlanOptions options;
  options.config = job.op_config(true);
  options.micro_batch = job.micro_batch;
  options.augmentation = augmentation;
  options.stream = make_stream(job.device);
  Plan plan(model.graph, *model.arena, job.losses(), options);
  plan.refresh_weights();
  const int64_t n = model.arena->n_elements(), n_bytes = n * int64_t{sizeof(float)};
  const Memory gradients(job.device, n_bytes);
  std::vector<float> on_host(static_cast<size_t>(n));
  std::vector<double> sums(static_cast<size_t>(n));
  const std::vector<bool> is_trunk = model.graph.trunk();
  DataLoader loader(dataset, loading, 0);
  int64_t n_seen = 0;
  for (int64_t step = 0; step < loader.steps_per_epoch() && n_seen < most_samples; ++step) {
    const MicroBatch& batch = loader.next();
    if (batch.n_valid == 0) continue;
    plan.stage(batch, {.seed = job.seed, .step = step});
    plan.forward();
    plan.backward(gradients.as<float>(), nullptr);
    copy(*options.stream, on_host.data(), gradients.data(), n_bytes);
    options.stream->synchronize();
    for (const Segment& segment : model.arena->segments()) {  // statistics come times the samples
      if (!segment.is_statistic()) continue;
      for (int64_t i = segment.offset; i < segment.offset + segment.n_elements(); ++i)
        sums[static_cast<size_t>(i)] += static_cast<double>(on_host[static_cast<size_t>(i)]);
    }
    n_seen += batch.n_valid;
  }
  float* const values = model.arena->host().as<float>();
  for (const Segment& segment : model.arena->segments()) {
    if (!segment.is_statistic() || is_trunk[static_cast<size_t>(segment.vertex)]) continue;
    for (int64_t i = segment.offset; i < segment.offset + segment.n_elements(); ++i)
      values[i] = static_cast<float>(sums[static_cast<size_t>(i)] / static_cast<double>(n_seen));
  }
  model.arena->host().upload(*options.stream);
  options.stream->synchronize();
  return n_seen;
}

}  // namespace lockstep
