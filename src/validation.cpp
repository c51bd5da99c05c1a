#include "src/validation.h"

#include <algorithm>

#include "src/loss_place.h"

namespace lockstep {

namespace {

PlanOptions evaluation_options(const Job& job) {
  PlanOptions options;
  options.config.device = job.device;
  options.config.training = false;
  options.config.compute = job.precision;
  options.micro_batch = job.micro_batch;
  return options;
}

LoaderOptions evaluation_loader(const Job& job, const Graph& graph, const Dataset& dataset,
                                const DataFields& fields, const Normalization& normalization,
                                const Communicator& comm) {
  LoaderOptions options =
      make_loader_options(job, dataset, fields, graph, true, normalization, comm.rank(), comm.size());
  options.shuffle = false;
  return options;
}

}  // namespace

int64_t arg_max(const float* values, int64_t n) { return std::max_element(values, values + n) - values; }

Validator::Validator(const Job& job, const Graph& graph, const ParameterArena& arena, const Dataset& dataset,
                     const DataFields& fields, const Normalization& normalization, Communicator& comm)
    : job_(job),
      comm_(comm),
      n_samples_(dataset.n_samples()),
      plan_(graph, arena, job.losses(), evaluation_options(job)),
      inputs_(graph.inputs().size()),
      targets_(count_targets(graph, job.losses())),
      loader_(dataset, evaluation_loader(job, graph, dataset, fields, normalization, comm), 0) {}

ValidationResult Validator::run() {
  plan_.refresh_weights();
  const int64_t n_steps = loader_.steps_per_epoch(), n_micro = job_.n_micro();
  const int64_t n_local = n_micro / comm_.size();
  ValidationResult result;
  result.n_samples = n_samples_;
  if (job_.loss.is_classification()) result.n_classes = plan_.output_shape()[1];
  const int64_t k = result.n_classes;
  result.confusion.assign(k * k, 0);

  // One row per micro-batch of the whole pass; every row is filled by one rank only, so the
  // sum over ranks is exact in any order.
  std::vector<double> rows(n_steps * n_micro * kLossValues, 0.0);
  for (int64_t s = 0; s < n_steps; ++s) {
    for (int64_t m = 0; m < n_local; ++m) {
      const MicroBatch& batch = loader_.next();
      BatchContext context;
      context.seed = job_.seed;
      context.n_valid = batch.n_valid;
      context.sample_ids = batch.sample_ids.data();
      std::copy_n(batch.data.begin(), inputs_.size(), inputs_.begin());
      std::copy_n(batch.data.begin() + static_cast<int64_t>(inputs_.size()), targets_.size(),
                  targets_.begin());
      plan_.forward(inputs_, targets_, context);
      std::copy_n(plan_.loss_values(), kLossValues, rows.data() + (s * n_micro + batch.micro) * kLossValues);
      const auto* target = static_cast<const int64_t*>(targets_.empty() ? nullptr : targets_[0]);
      for (int64_t i = 0; k > 0 && i < batch.n_valid; ++i) {
        ++result.confusion[target[i] * k + arg_max(plan_.output() + i * k, k)];
      }
    }
  }
  comm_.native_all_reduce(std::span<double>(rows));
  if (k > 0) comm_.native_all_reduce(std::span<int64_t>(result.confusion));

  double n_correct = 0;
  for (size_t row = 0; row < rows.size(); row += kLossValues) {
    result.loss += rows[row + kLossSum];
    n_correct += rows[row + kNCorrect];
  }
  result.loss /= static_cast<double>(n_samples_);
  result.accuracy = n_correct / static_cast<double>(n_samples_);
  return result;
}

}  // namespace lockstep
