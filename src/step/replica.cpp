#include "src/step/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "comm/activity.h"
#include "comm/agreement.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer_update.h"
#include "src/plan/stopwatch.h"
#include "src/step/bucket_sizes.h"

namespace lockstep {

namespace {

// The sums of a step: the loss op's values, the ranks with a stop signal, the ranks with a flag, the
// metrics'.
constexpr int64_t kStopSignals = kLossValues, kFlags = kLossValues + 1, kMetrics = kLossValues + 2;

/// With the momentum as factor.
std::vector<UpdateRange> ranges_of_statistics(const ParameterArena& arena, const Graph& graph) {
  const std::vector<bool> is_trunk = graph.trunk();
  std::vector<UpdateRange> ranges;
  for (const Segment& segment : arena.segments()) {
    if (!segment.is_statistic() || is_trunk[static_cast<size_t>(segment.vertex)]) continue;
    ranges.push_back({segment.offset, segment.offset + segment.n_elements(), segment.offset,
                      static_cast<float>(segment.spec.momentum)});
  }
  return ranges;
}

/// Elements at the arena's front that have gradients. Where ranks share the update it is the whole, as their
/// shares are parts of it.
int64_t with_gradients(const StepOptions& job, const ParameterArena& arena, const Graph& graph) {
  return job.shard_optimizer ? arena.n_elements() : arena.n_before_trunk(graph);
}

std::vector<Bucket> cut(const ParameterArena& arena, int64_t n_elements, const BucketSizes& sizes) {
  std::vector<int64_t> borders = arena.borders();
  borders.erase(std::upper_bound(borders.begin(), borders.end(), n_elements), borders.end());
  return make_buckets(borders, sizes.first_bytes, sizes.bytes);
}

}  // namespace

Replica::Replica(const StepOptions& job, Graph graph, Communicator& comm, const ReplicaOptions& wanted)
    : job_(job),
      comm_(comm),
      graph_(std::move(graph)),
      shorter_(wanted.shorter),
      arena_(graph_, job.device),
      stream_(make_stream(job.device)),
      n_gradients_(with_gradients(job, arena_, graph_)),
      gradients_(arena_, job.n_micro() / comm.size(), job.wire, job.error_feedback),
      states_(graph_, job.device, job.micro_batch, job.n_micro() / comm.size()),
      reducer_(comm, job.reduction,
               cut(arena_, n_gradients_, plan_buckets(job, comm, arena_, wanted.communication_plan)),
               job.device, ReducerOptions{.scatters = job.shard_optimizer, .wire = job.wire}),
      optimizer_(
          job.optimizer, arena_,
          job.shard_optimizer ? reducer_.own_ranges() : with_states(job.optimizer, arena_, n_gradients_),
          !job.shard_optimizer),
      clip_(job.clip, job.device),
      statistics_(job.device, within(ranges_of_statistics(arena_, graph_), reducer_.own_ranges())),
      row_size_(kMetrics + job.metrics.n_sums()),
      loss_rows_(gradients_.n_micro() * row_size_) {
  PlanOptions options;
  options.config = job.op_config();
  options.micro_batch = job.micro_batch;
  options.stream = stream_;
  options.times_steps = wanted.times_steps;
  options.augmentation = wanted.augmentation;
  options.mix = job.mix;
  options.keeps_judged = job.metrics.compares();
  if (job.precision == DType::kFloat16) loss_scale_.now = loss_scale_.next = LossScale::kFirst;
  initialize(arena_, job.init, job.seed);
  if (job.n_micro() > 1 && SynchronizedBatch::wanted(graph_)) {
    if (!states_.empty())
      throw Error("model", "a state that is carried, and batch norm over the whole batch, do not go together",
                  "leave out sync_batch_norm, or state: carried");
    together_ = std::make_unique<SynchronizedBatch>(job, graph_, arena_, comm, options);
    if (!shorter_.empty())
      throw Error("model", "batch norm over the whole batch needs sequences of one length",
                  "leave out sync_batch_norm, or set data.order: shuffled");
  } else {
    std::vector<const Graph*> graphs;
    for (const Graph& shorter : shorter_) graphs.push_back(&shorter);
    graphs.push_back(&graph_);
    plans_ = std::make_unique<PlanSet>(graphs, arena_, job.losses(), options);
  }
  for (const Memory& residual : gradients_.residuals())
    residuals_.push_back(std::make_unique<HostMirror>(residual));
  if (float* shared = reducer_.shared_gradients()) gradients_.place_result(shared);
  if (comm.size() > 1) {
    for (const Bucket& bucket : reducer_.buckets()) marks_.push_back(bucket.end);
  }
  refresh_weights();
}

void Replica::run_micro_batches(DataLoader& loader, int64_t step) {
  buckets_started_ = 0;
  merged_ = 0;
  not_finite_.clear();
  step_ = step;
  if (!residuals_.empty()) before_update_();  // backward changes them
  if (together_) {
    settle_weights();
    together_->run(loader, step, static_cast<float>(loss_scale_.now));
    for (int64_t m = 0; m < gradients_.n_micro(); ++m) {
      read_losses(together_->plan(m), m);
      copy(*stream_, gradients_.target(m), together_->gradients(m), n_gradients_ * int64_t{sizeof(float)});
      gradients_.merge(*stream_, m, 0, n_gradients_);
    }
    start_buckets(n_gradients_);
    return;
  }
  for (int64_t m = 0; m < gradients_.n_micro(); ++m) {
    if (staged_from_ != &loader) stage(loader, step);
    staged_from_ = nullptr;
    Plan& plan = plans_->at(bucket_);
    if (!states_.empty()) plan.set_states(step % loader.steps_per_epoch() == 0 ? nullptr : states_.before(m));
    if (weights_arrive_) {
      forward_as_weights_arrive(bucket_);
    } else {
      plans_->refresh(bucket_);
      plan.forward();
    }
    if (!states_.empty()) plan.get_states(states_.after(m));
    if (m + 1 < gradients_.n_micro()) {
      plan.backward(gradients_.target(m), nullptr);
      gradients_.merge(*stream_, m, 0, n_gradients_);
    } else {
      // The last micro-batch: every range is merged with the pending partial sums as soon as
      // it is final, and its buckets start their way over the ranks under the rest of backward.
      plan.backward(
          gradients_.target(m),
          [&](int64_t final_below) {
            final_below = std::min(final_below, n_gradients_);
            gradients_.merge(*stream_, m, merged_, final_below);
            merged_ = final_below;
            start_buckets(final_below);
          },
          marks_);
    }
    // The next micro-batch goes to a GPU while it computes; on the CPU it would overwrite this one's.
    if (job_.device.kind == Device::Kind::kCuda) {
      wait_for_gpu([&] { plan.wait_staged(); });
      stage(loader, m + 1 < gradients_.n_micro() ? step : step + 1);
    }
    read_losses(plan, m);
  }
}

void Replica::stage(DataLoader& loader, int64_t step) {
  const MicroBatch& batch = [&]() -> const MicroBatch& {
    const Work work("reading data");
    return loader.next();
  }();
  const double scale = step == step_ ? loss_scale_.now : loss_scale_.next;
  bucket_ = plans_->size() > 1 ? batch.bucket : 0;
  plans_->at(bucket_).stage(batch, {job_.seed, step, static_cast<float>(scale)});
  staged_from_ = &loader;
}

void Replica::wait_for_gpu(const std::function<void()>& wait) {
  std::optional<InCollective> told;
  if (job_.device.kind == Device::Kind::kCuda && comm_.size() > 1)
    told.emplace("the GPU's queue, where gradients may wait for other ranks");
  wait();
}

void Replica::read_losses(Plan& plan, int64_t m) {
  Judged judged;
  const auto judge = [&] { judged = plan.judged(job_.metrics.compares()); };
  wait_for_gpu(std::cref(judge));  // by reference it fits into a std::function without the heap
  const double* const values = judged.loss_values;
  double* const row = loss_rows_.data() + m * row_size_;
  std::copy_n(values, kLossValues, row);
  row[kStopSignals] = row[kFlags] = 0;
  job_.metrics.judge(judged, row + kMetrics);
  if (!std::isfinite(values[kLossSum]) && not_finite_.empty())
    not_finite_ = fmt::format("rank {}: {}", comm_.rank(), plan.first_not_finite());
}

void Replica::start_buckets(int64_t final_below) {
  const std::vector<Bucket>& buckets = reducer_.buckets();
  while (buckets_started_ < buckets.size() && buckets[buckets_started_].end <= final_below) {
    reducer_.bucket_ready(static_cast<int>(buckets_started_++), gradients_.result(), stream_.get());
  }
}

StepResult Replica::step(DataLoader& loader, int64_t step, int64_t total_steps, bool flag) {
  const double wait_before = loader.wait_s();
  run_micro_batches(loader, step);
  times_.data_wait += loader.wait_s() - wait_before;

  const Stopwatch communication;
  reducer_.wait(stream_.get());
  // The step's sums take the same tree; stop signals ride along, so that all ranks stop at
  // the same step.
  tree_sum_rows(loss_rows_.data(), gradients_.n_micro(), row_size_);
  loss_rows_[kStopSignals] = stop_signal() != 0;
  loss_rows_[kFlags] = flag;
  const std::span<double> sums(loss_rows_.data(), row_size_);
  comm_.all_reduce(sums, job_.reduction);
  times_.communication += communication.seconds();

  const int64_t steps_per_epoch = loader.steps_per_epoch();
  StepResult result;
  result.n_samples = loader.samples_in_step(step % steps_per_epoch);
  // Losses with weights are means over the weights, as PyTorch's; else each sample weighs one.
  result.loss = sums[kLossSum] / std::max(sums[kWeightSum], 1e-300);
  result.accuracy = sums[kNCounted] > 0 ? sums[kNCorrect] / sums[kNCounted] : 0;
  for (int64_t i = 0; i < job_.metrics.size(); ++i)
    result.metrics[i] = MetricList::mean(sums.data() + kMetrics, i);
  result.stop_requested = sums[kStopSignals] > 0;
  result.flagged = sums[kFlags] > 0;

  if (!std::isfinite(sums[kLossSum])) {  // equal on all ranks: nobody updates
    for (const std::string& text : comm_.all_gather_strings(not_finite_)) {
      if (result.not_finite.empty()) result.not_finite = text;
    }
    if (result.not_finite.empty()) result.not_finite = "the sum over the micro-batches overflowed";
    return result;
  }

  const Work work("updating weights");
  before_update_();
  states_.advance(*stream_);
  const Stopwatch update;
  grad_scale_ = sums[kWeightSum] > 0 ? 1.0 / (sums[kWeightSum] * loss_scale_.now) : 0.0;
  result.lr = job_.optimizer.lr * job_.schedule.factor(step, total_steps, steps_per_epoch) * rate_factor_;
  if (job_.precision == DType::kFloat16) {
    result.overflowed = overflowed();
    loss_scale_.advance(result.overflowed);
  }
  // What backward left there is a sum over samples of the micro-batches' values; they become zero.
  average_update(*stream_, static_cast<float>(1.0 / static_cast<double>(result.n_samples)), statistics_,
                 gradients_.result(), arena_.weights());
  if (!result.overflowed) {
    clip_gradients(step, steps_per_epoch);
    optimizer_.update(*stream_, gradients_.result(), result.lr, grad_scale_, step, steps_per_epoch);
  }
  // Also after an overflow, so that the first step begins it.
  optimizer_.average(*stream_, step, steps_per_epoch);
  weights_changed();
  times_.update += update.seconds();
  return result;
}

void Replica::clip_gradients(int64_t step, int64_t steps_per_epoch) {
  if (clip_.needs_all_gradients() && optimizer_.is_sharded()) {
    const AddSeconds timing(times_.communication);
    gather(gradients_.result());
    reducer_.wait(stream_.get());
  }
  if (clip_.needs_all_gradients()) {  // what is frozen has no part in the norm
    const auto clear = [&](const std::vector<ElementRange>& ranges) {
      for (const ElementRange& range : ranges)
        if (range.begin < n_gradients_)
          fill(*stream_, std::min(range.end, n_gradients_) - range.begin, 0.0f,
               gradients_.result() + range.begin);
    };
    clear(optimizer_.frozen_ranges());
    clear(optimizer_.not_thawed(step, steps_per_epoch));
  }
  if (grad_scale_ > 0) clip_.apply(*stream_, n_gradients_, gradients_.result(), grad_scale_);
}

bool Replica::overflowed() {
  double sum = 0;
  for (const ElementRange& range : reducer_.own_ranges())
    sum += sum_of_squares(*stream_, range.n(), gradients_.result() + range.begin);
  const bool here = !std::isfinite(sum);
  return optimizer_.is_sharded() ? comm_.all_reduce_max(here) != 0 : here;
}

StepTimes Replica::times() const {
  StepTimes times = times_;
  for (int64_t m = 0; m < (together_ ? gradients_.n_micro() : plans_->size()); ++m) {
    const Plan& plan = together_ ? together_->plan(m) : plans_->at(static_cast<int>(m));
    times.forward += plan.forward_s();
    times.backward += plan.backward_s();
  }
  return times;
}

std::vector<PlanStepTimes> Replica::step_times() const {
  const auto n_plans = together_ ? static_cast<int>(gradients_.n_micro()) : plans_->size();
  const auto times_of = [&](int i) {
    return together_ ? together_->plan(i).step_times() : plans_->at(n_plans - 1 - i).step_times();
  };
  std::vector<PlanStepTimes> sums = times_of(0);
  for (int i = 1; i < n_plans; ++i) {
    const std::vector<PlanStepTimes> more = times_of(i);
    if (more.size() != sums.size()) continue;  // a scan over other steps
    for (size_t s = 0; s < sums.size(); ++s) sums[s].add(more[s]);
  }
  return sums;
}

}  // namespace lockstep
