// Means are sums in float64 in the order of the members, so that they do not depend on ranks.
#include "src/run/predict/ensemble.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "comm/agreement.h"
#include "src/data/class_names.h"
#include "src/network/loss_place.h"
#include "src/run/validation.h"

namespace lockstep {

namespace {

constexpr double kLeastProbability = 1e-38;  // log of it is a number of float32

void check_member(const std::string& path, const TrainedModel& model, const TrainedModel& first) {
  const auto refuse = [&](const std::string& what) {
    throw Error(path, what, "name checkpoints of networks for the same data and classes");
  };
  const std::vector<int> inputs = model.graph.inputs();
  if (inputs.size() != 1 || model.graph.vertex(inputs[0]).dtype != DType::kFloat32 ||
      !model.graph.states().empty() || !model.contract.ragged.empty())
    refuse("cannot be a member: ensembles are of networks with one input of numbers and no carried state");
  const Shape &input = model.graph.vertex(inputs[0]).shape,
              &of_first = first.graph.vertex(first.graph.inputs()[0]).shape;
  if (!(input == of_first)) refuse(fmt::format("reads {}, the first one {}", input.str(), of_first.str()));
  const Shape &output = model.graph.vertex(model.graph.output()).shape,
              &output_of_first = first.graph.vertex(first.graph.output()).shape;
  if (!(output == output_of_first))
    refuse(fmt::format("gives {}, the first one {}", output.str(), output_of_first.str()));
  if (model.contract.class_names != first.contract.class_names)
    refuse(fmt::format("has the classes {}, the first one {}", list_of_names(model.contract.class_names),
                       list_of_names(first.contract.class_names)));
  if (model.job.loss.rule->probability() != first.job.loss.rule->probability())
    refuse(
        fmt::format("was trained with {}, the first one with {}", model.job.loss.name, first.job.loss.name));
}

/// The one for number i of a sample of n.
float part_of(const std::vector<float>& values, int64_t i, int64_t n, float otherwise) {
  if (values.empty()) return otherwise;
  return values[static_cast<size_t>(i / (n / static_cast<int64_t>(values.size())))];
}

/// The loss on scores that are no plan's, and what metrics look at.
class JudgedScores {
 public:
  JudgedScores(const Job& job, const Shape& output)
      : prediction_{output.with_front(job.micro_batch), DType::kFloat32, nullptr},
        op_(make_loss({.device = {}, .training = false}, job.loss, prediction_)),
        workspace_(Device{}, std::max<int64_t>(64, op_->info().workspace_bytes)),
        scratchpad_(Device{}, std::max<int64_t>(64, op_->info().scratchpad_bytes)),
        stream_(make_stream(Device{})) {}

  Judged judge(const float* scores, const void* target, int64_t n_valid) {
    BatchContext context;
    context.n_valid = n_valid;
    const std::array<Tensor, 2> src{Tensor{const_cast<float*>(scores), op_->info().src[0]},
                                    Tensor{const_cast<void*>(target), op_->info().src[1]}};
    const Tensor dst{sums_.data(), op_->info().dst[0]};
    OpArgs args;
    args.src = src;
    args.dst = {&dst, 1};
    args.workspace = workspace_.data();
    args.scratchpad = scratchpad_.data();
    args.batch = &context;
    op_->forward(*stream_, args);
    Judged judged;
    judged.loss_values = sums_.data();
    judged.n_valid = n_valid;
    judged.sample = prediction_.shape.without_front();
    judged.prediction = scores;
    judged.target = target;
    return judged;
  }

 private:
  TensorDesc prediction_;
  std::unique_ptr<Op> op_;
  Memory workspace_, scratchpad_;
  std::shared_ptr<Stream> stream_;
  std::array<double, size_t{kLossValues}> sums_{};
};

}  // namespace

Ensemble::Ensemble(const TrainedModel& first, const std::vector<std::string>& others, bool average)
    : first_(first), probability_(first.job.loss.rule->probability()) {
  for (const std::string& path : others) {
    others_.push_back(load_model(path, average));
    check_member(path, others_.back(), first);
    check_member("the first checkpoint", first, first);
  }
  const Shape& output = first.graph.vertex(first.graph.output()).shape;
  size_ = output.n_elements();
  if (!others.empty() && output.rank() != 1)
    throw Error("--with", "averages outputs that are vectors, and those of the network are " + output.str(),
                "leave it out");
  members_.push_back(&first_);
  for (const TrainedModel& model : others_) members_.push_back(&model);
  for (const TrainedModel* model : members_) {
    PlanOptions options;
    options.config = model->job.op_config(false);
    options.micro_batch = first.job.micro_batch;
    options.keeps_shown = model == &first_;
    plans_.push_back(std::make_unique<Plan>(model->graph, *model->arena, model->job.losses(), options));
    plans_.back()->refresh_weights();
  }
  sums_.resize(static_cast<size_t>(first.job.micro_batch * size_));
  scores_.resize(sums_.size());
  row_.resize(static_cast<size_t>(size_));
}

const float* Ensemble::input_of(size_t member, const MicroBatch& batch) {
  const auto* given = static_cast<const float*>(batch.data[0]);
  const Normalization &own = members_[member]->contract.normalization,
                      &of_first = first_.contract.normalization;
  if (own.mean == of_first.mean && own.stddev == of_first.stddev) return given;
  const int64_t n = first_.graph.vertex(first_.graph.inputs()[0]).shape.n_elements();
  input_.resize(static_cast<size_t>(first_.job.micro_batch * n));
  for (int64_t at = 0; at < first_.job.micro_batch * n; ++at) {
    const int64_t i = at % n;
    const double stored =
        static_cast<double>(given[at]) * part_of(of_first.stddev, i, n, 1) + part_of(of_first.mean, i, n, 0);
    input_[static_cast<size_t>(at)] =
        static_cast<float>((stored - part_of(own.mean, i, n, 0)) / part_of(own.stddev, i, n, 1));
  }
  return input_.data();
}

const float* Ensemble::run(const MicroBatch& batch) {
  std::fill(sums_.begin(), sums_.end(), 0.0);
  for (size_t m = 0; m < members_.size(); ++m) {
    Plan& plan = *plans_[m];
    if (m == 0) {
      plan.stage(batch, {});
    } else {
      MicroBatch alone = batch;
      alone.data = {const_cast<float*>(input_of(m, batch))};
      plan.stage(alone, {});
    }
    plan.forward();
    const float* output = plan.output();
    if (members_.size() == 1) return output;
    for (int64_t r = 0; r < batch.n_valid; ++r) {
      const float* x = output + r * size_;
      double* sum = sums_.data() + r * size_;
      double total = 1, largest = 0;
      const bool is_softmax = probability_ == LossRule::Probability::kSoftmax;
      if (is_softmax) {
        largest = *std::max_element(x, x + size_);
        total = 0;
        for (int64_t k = 0; k < size_; ++k) total += std::exp(x[k] - largest);
      }
      for (int64_t k = 0; k < size_; ++k)
        sum[k] += is_softmax                                        ? std::exp(x[k] - largest) / total
                  : probability_ == LossRule::Probability::kSigmoid ? 1 / (1 + std::exp(-double{x[k]}))
                                                                    : double{x[k]};
    }
  }
  const auto n = static_cast<double>(members_.size());
  for (size_t i = 0; i < sums_.size(); ++i) {
    const double mean = sums_[i] / n;
    double score = mean;
    if (probability_ == LossRule::Probability::kSoftmax) score = std::log(std::max(mean, kLeastProbability));
    if (probability_ == LossRule::Probability::kSigmoid)
      score = std::log(std::max(mean, kLeastProbability) / std::max(1 - mean, kLeastProbability));
    scores_[i] = static_cast<float>(score);
  }
  return scores_.data();
}

Evaluation evaluate_ensemble(const std::vector<std::string>& checkpoints, const EvaluateOptions& options,
                             Communicator& comm) {
  Evaluation evaluation;
  TrainedModel& model = evaluation.model;
  std::unique_ptr<OpenedEvaluation> opened;
  std::unique_ptr<Ensemble> ensemble;
  const auto open = [&] {
    opened = std::make_unique<OpenedEvaluation>(open_evaluation(checkpoints.front(), options, model));
    if (loss_vertex(model.graph, model.job.loss) != model.graph.output() ||
        loss_target_input(model.graph, model.job.loss) >= 0)
      throw Error("--with", "the loss does not compare the network's output with the dataset",
                  "evaluate the checkpoints one by one");
    model.job.further_losses.clear();
    share_micro_batches(model.job, comm.size());
    ensemble = std::make_unique<Ensemble>(
        model, std::vector<std::string>(checkpoints.begin() + 1, checkpoints.end()), options.average);
  };
  check_on_root(comm, open);
  all_or_none(comm, [&] {
    if (!comm.is_root()) open();
  });
  set_compute_threads(model.job.threads);
  LoaderOptions loading = make_loader_options(model.job, *opened->dataset, opened->fields, model.graph, true,
                                              model.contract.normalization, comm.rank(), comm.size());
  loading.shuffle.is_on = false;
  loading.order = Order::kShuffled;
  loading.ranks = &comm;
  DataLoader loader(*opened->dataset, loading, 0);
  NotFiniteRows not_finite(opened->dataset->path(), loading.fields, opened->dataset.get());
  const Job& job = model.job;
  const Shape output = model.graph.vertex(model.graph.output()).shape;
  JudgedScores scores(job, output);
  ValidationResult& result = evaluation.result;
  result.n_samples = opened->dataset->n_samples();
  const int64_t k = job.metrics.counts_confusion ? job.loss.n_classes(output) : 0;
  result.confusion = Confusion(k);
  const int64_t row_size = kLossValues + job.metrics.n_sums(), n_steps = loader.steps_per_epoch();
  std::vector<double> rows(static_cast<size_t>(n_steps * comm.size() * row_size));
  for (int64_t s = 0; s < n_steps; ++s) {
    const MicroBatch& batch = loader.next();
    not_finite.look_at(batch);
    const Judged judged = scores.judge(ensemble->run(batch), batch.data[1], batch.n_valid);
    double* const row = rows.data() + (s * comm.size() + batch.micro) * row_size;
    std::copy_n(judged.loss_values, kLossValues, row);
    job.metrics.judge(judged, row + kLossValues);
    if (k > 0) result.confusion.judge(*job.loss.rule, judged);
  }
  comm.native_all_reduce(std::span<double>(rows));  // each row is of one rank
  result.confusion.gather(comm);
  std::vector<double> sums(static_cast<size_t>(row_size));
  for (size_t at = 0; at < rows.size(); ++at) sums[at % sums.size()] += rows[at];
  result.loss = sums[kLossSum] / (sums[kWeightSum] > 0 ? sums[kWeightSum] : 1);
  for (int64_t i = 0; i < job.metrics.size(); ++i)
    result.metrics.push_back(job.metrics.value(i, MetricList::mean(sums.data() + kLossValues, i)));
  result.not_finite = not_finite.told(comm);
  return evaluation;
}

}  // namespace lockstep
