// The walks of a plan: forward, with weights that may still be on their way, and backward; on GPUs recorded
// once and repeated from then on, in parts that end where the host takes part.
#include <algorithm>

#include "kernels/elementwise.h"
#include "src/plan/plan_impl.h"
#include "src/plan/stopwatch.h"

namespace lockstep {

bool PlanArrivals::bring(const PlanStep& step) {
  const auto stretch =
      static_cast<int>(std::upper_bound(marks.begin(), marks.end(), step.reads_from) - marks.begin());
  if (stretch >= arrived) return true;
  arrived = stretch;
  if (!arrive) return false;
  const AddSeconds timing(waited_s);
  (*arrive)(stretch);
  return true;
}

void Plan::forward(std::span<const int64_t> marks, const std::function<void(int)>& arrive) {
  Impl& p = *impl_;
  start_forward();
  PlanArrivals arrivals{marks, static_cast<int>(marks.size()), &arrive};
  p.arrivals = &arrivals;
  if (!p.records() || p.n_plain_runs[3]++ == 0) {
    continue_forward();
    p.arrivals = nullptr;
    forward_s_ -= arrivals.waited_s;
    return;
  }
  if (p.recorded_arrivals.empty()) {
    arrivals.arrive = nullptr;  // each stretch ends a part
    const size_t n_calls = p.with_loss ? p.forward_calls.size() : p.calls_before_loss;
    for (int before = -1; p.next_call < n_calls; before = arrivals.arrived) {
      std::unique_ptr<RecordedWork> work = record_work(*p.stream, [&] { continue_forward(); });
      p.recorded_arrivals.push_back({std::move(work), before});
    }
  }
  p.arrivals = nullptr;
  for (const ArrivalPart& part : p.recorded_arrivals) {
    if (part.arrival >= 0) arrive(part.arrival);
    part.work->run(*p.stream);
  }
}

void Plan::start_forward() {
  Impl& p = *impl_;
  p.inputs->bring(*p.stream);
  p.n_valid = p.n_valid_staged;
  for (auto& [value, tensor] : p.external) {
    size_t array = 0;
    for (const std::vector<int>* ids : {&p.input_values, &p.target_values}) {
      for (int id : *ids) {
        if (id == value) tensor->data = const_cast<void*>(p.inputs->data(array));
        ++array;
      }
    }
  }
  p.next_call = 0;
  p.has_sums = false;
}

std::span<double> Plan::continue_forward() {
  const Stopwatch watch;
  Impl& p = *impl_;
  const size_t n_calls = p.with_loss ? p.forward_calls.size() : p.calls_before_loss;
  for (; p.next_call < n_calls; ++p.next_call) {
    PlanStep& step = p.steps[p.forward_calls[p.next_call].step];
    if (p.arrivals && !step.params_t.empty()) {
      if (!p.arrivals->bring(step)) return {};
      prepare(step);
    }
    const AddSeconds timing(step.times.forward);
    if (step.is_as_evaluated) {
      p.sum_running_statistics(step);
      step.synchronized->forward_apply(*p.stream, step.args, step.sums.data());
    } else if (step.synchronized != nullptr) {
      if (!p.has_sums) {
        step.synchronized->forward_sums(*p.stream, step.args, step.sums.data());
        p.has_sums = true;
        forward_s_ += watch.seconds();
        return step.sums;
      }
      step.synchronized->forward_apply(*p.stream, step.args, step.sums.data());
      p.has_sums = false;
    } else if (!step.op->info().aliases_src) {
      step.op->forward(*p.stream, step.args);
    }
    p.wait_if_timed();
  }
  for (size_t l = 0; p.with_loss && l < p.losses.size(); ++l) {  // backward may reuse their memory
    copy(*p.stream, p.losses_on_host.as<double>() + l * kLossValues, p.steps[p.losses[l].step].dst_t[0].data,
         kLossValues * int64_t{sizeof(double)});
  }
  forward_s_ += watch.seconds();
  return {};
}

void Plan::backward(float* gradients, const std::function<void(int64_t)>& final_below,
                    std::span<const int64_t> marks) {
  Impl& p = *impl_;
  if (!p.is_cuda()) {
    start_backward(gradients);
    while (!continue_backward(final_below).empty()) {
    }
    return;
  }
  // Calls back where a mark is passed, and at the end.
  size_t next_mark = 0;
  int64_t told = 0;
  const auto passes_mark = [&](int64_t n) {
    const size_t before = next_mark;
    while (next_mark < marks.size() && marks[next_mark] <= n) ++next_mark;
    return next_mark > before;
  };
  const auto tell = [&](int64_t n) {
    if (final_below && n > told) final_below(told = n);
  };
  if (!p.records() || p.n_plain_runs[2]++ == 0) {
    start_backward(gradients);
    const auto tell_at_mark = [&](int64_t n) {
      if (passes_mark(n)) tell(n);
    };
    while (!continue_backward(tell_at_mark).empty()) {
    }
  } else {
    std::vector<RecordedPart>& parts = p.recorded_backward[{gradients, !marks.empty()}];
    if (parts.empty()) record_backward(gradients, passes_mark, parts);
    for (const RecordedPart& part : parts) {
      part.work->run(*p.stream);
      tell(part.final_below);
    }
  }
  tell(p.arena.n_elements());
}

void Plan::record_backward(float* gradients, const std::function<bool(int64_t)>& passes_mark,
                           std::vector<RecordedPart>& parts) {
  Impl& p = *impl_;
  bool ended = false;
  for (bool begins = true; !ended; begins = false) {
    RecordedPart part;
    part.work = record_work(*p.stream, [&] {
      if (begins) start_backward(gradients);
      p.stops = false;
      ended = continue_backward([&](int64_t n) {
                if (!passes_mark(n)) return;
                part.final_below = n;
                p.stops = true;
              }).empty() &&
              p.next_call == p.backward_calls.size();
    });
    parts.push_back(std::move(part));
  }
  p.stops = false;
}

void Plan::start_backward(float* gradients) {
  Impl& p = *impl_;
  p.gradients = gradients;
  for (const auto& [offset, n] : p.zero_gradients) fill(*p.stream, n, 0.0f, gradients + offset);
  p.next_call = 0;
  p.has_sums = false;
  p.announced = 0;
}

std::span<double> Plan::continue_backward(const std::function<void(int64_t)>& final_below) {
  const Stopwatch watch;
  double outside = 0;
  Impl& p = *impl_;
  while (p.next_call < p.backward_calls.size()) {
    const PlanCall& call = p.backward_calls[p.next_call];
    PlanStep& step = p.steps[call.step];
    if (!call.backward) {
      p.forward_again(step);
      ++p.next_call;
      continue;
    }
    if (!p.has_sums) p.prepare_backward(step);
    if (!p.run_backward(step)) {
      backward_s_ += watch.seconds() - outside;
      return step.diff_sums;
    }
    ++p.next_call;
    if (final_below && step.final_below > p.announced) {
      p.announced = step.final_below;
      const AddSeconds timing(outside);
      final_below(p.announced);
      if (p.stops) break;  // the rest is recorded as another part
    }
  }
  backward_s_ += watch.seconds() - outside;
  return {};
}

void Plan::Impl::sum_running_statistics(PlanStep& step) {
  const size_t n = step.sums.size() / 2, n_params = step.params_t.size();
  std::vector<float> mean(n), variance(n);
  const auto n_bytes = static_cast<int64_t>(n * sizeof(float));
  copy(*stream, mean.data(), step.params_t[n_params - 2].data, n_bytes);
  copy(*stream, variance.data(), step.params_t[n_params - 1].data, n_bytes);
  if (is_cuda()) stream->synchronize();
  for (size_t c = 0; c < n; ++c) {
    step.sums[c] = mean[c];
    step.sums[n + c] = variance[c] + static_cast<double>(mean[c]) * mean[c];
  }
  step.sums[2 * n] = 1;
}

void Plan::Impl::forward_again(PlanStep& step) {
  const AddSeconds timing(step.times.forward);
  if (step.op->info().aliases_src) return;
  if (step.synchronized != nullptr) {
    step.synchronized->forward_apply(*stream, step.args, steps[step.repeats].sums.data());
  } else {
    step.op->forward(*stream, step.args);
  }
  wait_if_timed();
}

void Plan::Impl::prepare_backward(PlanStep& step) {
  const AddSeconds timing(step.times.gradient_sums);
  for (const GradientSum& sum : step.sums_of_gradients)
    sum_gradients(*stream, sum.dtype, sum.n_elements, sum.partials);
  for (size_t i = 0; i < step.param_offsets.size(); ++i)
    if (!step.adds_params[i]) step.diff_params_t[i].data = gradients + step.param_offsets[i];
}

bool Plan::Impl::run_backward(PlanStep& step) {
  const AddSeconds timing(step.times.backward);
  if (step.synchronized != nullptr && !has_sums) {
    step.synchronized->backward_sums(*stream, step.args, step.diff_sums.data());
    if (!step.is_as_evaluated) {
      has_sums = true;
      return false;
    }
    // Statistics that do not depend on the batch: their part of the gradient is zero.
    std::fill(step.diff_sums.begin(), step.diff_sums.end() - 1, 0.0);
  }
  if (step.synchronized != nullptr) {
    step.synchronized->backward_apply(*stream, step.args, step.diff_sums.data());
    has_sums = false;
  } else if (!step.op->info().aliases_src) {
    step.op->backward(*stream, step.args);
  }
  add_shared_gradients(step);
  wait_if_timed();
  return true;
}

void Plan::Impl::add_shared_gradients(PlanStep& step) {
  for (size_t i = 0; i < step.param_offsets.size(); ++i) {
    if (!step.adds_params[i]) continue;
    float* sum = gradients + step.param_offsets[i];
    add(*stream, step.diff_params_t[i].desc.n_elements(), sum, step.diff_params_t[i].as<float>(), sum);
  }
}

}  // namespace lockstep
