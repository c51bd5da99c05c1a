#include "src/run/validation.h"

#include <algorithm>
#include <cmath>

#include "src/network/loss_place.h"

namespace lockstep {

namespace {

PlanOptions evaluation_options(const Job& job) {
  PlanOptions options;
  options.config = job.op_config(false);
  options.micro_batch = job.micro_batch;
  return options;
}

LoaderOptions evaluation_loader(const Job& job, const Graph& graph, const Dataset& dataset,
                                const DataFields& fields, const Normalization& normalization,
                                Communicator& comm) {
  LoaderOptions options =
      make_loader_options(job, dataset, fields, graph, true, normalization, comm.rank(), comm.size());
  options.shuffle.is_on = false;
  options.ranks = &comm;
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
      judges_output_(loss_vertex(graph, job.loss) == graph.output() && !targets_.empty()),
      rows_(dataset.path(), evaluation_loader(job, graph, dataset, fields, normalization, comm).fields,
            &dataset),
      loader_(dataset, evaluation_loader(job, graph, dataset, fields, normalization, comm), 0) {}

ValidationResult Validator::run() {
  plan_.refresh_weights();
  const int64_t n_steps = loader_.steps_per_epoch(), n_micro = job_.n_micro();
  const int64_t n_local = n_micro / comm_.size();
  ValidationResult result;
  result.n_samples = n_samples_;
  result.has_accuracy = job_.loss.has_accuracy();
  const int64_t k = judges_output_ ? job_.loss.n_classes(plan_.output_shape().without_front()) : 0;
  result.confusion = Confusion(k);

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
      rows_.look_at(batch);
      plan_.forward(inputs_, targets_, context);
      std::copy_n(plan_.loss_values(), kLossValues, rows.data() + (s * n_micro + batch.micro) * kLossValues);
      if (k > 0) count_confusion(batch.n_valid, result.confusion);
    }
  }
  comm_.native_all_reduce(std::span<double>(rows));
  result.confusion.gather(comm_);

  double n_correct = 0, n_counted = 0, weights = 0;
  for (size_t row = 0; row < rows.size(); row += kLossValues) {
    result.loss += rows[row + kLossSum];
    n_correct += rows[row + kNCorrect];
    n_counted += rows[row + kNCounted];
    weights += rows[row + kWeightSum];
  }
  if (weights > 0) result.loss /= weights;
  if (n_counted > 0) result.accuracy = n_correct / n_counted;
  result.not_finite = rows_.told(comm_);
  if (result.not_finite.empty() && !std::isfinite(result.loss))
    result.not_finite = "the loss is not finite though the data are: the network's outputs are not";
  return result;
}

void Validator::count_confusion(int64_t n_valid, Confusion& confusion) {
  // Scores (K, places) of a sample, or (places, K); one score says class 1 where it is positive.
  const int64_t k = confusion.n_classes(), sample = plan_.output_shape().without_front().n_elements();
  const int64_t n_scores = sample == 1 ? 1 : k;
  const int64_t places = sample / n_scores;
  const int64_t score_stride = job_.loss.classes_last ? 1 : places;
  const int64_t place_stride = job_.loss.classes_last ? n_scores : 1;
  const auto* target = static_cast<const int64_t*>(targets_[0]);
  const float* output = plan_.output();
  for (int64_t i = 0; i < n_valid * places; ++i) {
    const float* scores = output + i / places * sample + i % places * place_stride;
    const bool is_class = target[i] >= 0 && target[i] < k;
    if (!is_class || (job_.loss.ignore && target[i] == *job_.loss.ignore)) continue;
    int64_t predicted = n_scores == 1 ? scores[0] > 0 : 0;
    for (int64_t c = 1; c < n_scores; ++c) {
      if (scores[c * score_stride] > scores[predicted * score_stride]) predicted = c;
    }
    confusion.add(target[i], predicted);
  }
}

}  // namespace lockstep
