#include "src/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>

#include "kernels/elementwise.h"
#include "src/augment.h"
#include "src/plan_impl.h"

namespace lockstep {

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Adds the seconds of its life to a sum.
class Timer {
 public:
  explicit Timer(double& sum) : sum_(sum) {}
  ~Timer() { sum_ += seconds() - start_; }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& sum_;
  const double start_ = seconds();
};

}  // namespace

void PlanStepTimes::add(const PlanStepTimes& other, double factor) {
  prepare += factor * other.prepare;
  forward += factor * other.forward;
  backward += factor * other.backward;
  gradient_sums += factor * other.gradient_sums;
}

Plan::Plan(const Graph& graph, const ParameterArena& arena, const std::vector<LossSpec>& losses,
           const PlanOptions& options)
    : impl_(std::make_unique<Impl>(graph, arena, options)) {
  try {
    impl_->compile(losses);
    impl_->schedule();
    impl_->bind();
  } catch (const OutOfMemory& error) {
    impl_->explain(error);
  }
}

Plan::~Plan() = default;

bool Plan::Impl::records() const {
  if (!is_cuda() || options.times_steps) return false;
  return std::none_of(steps.begin(), steps.end(),
                      [](const PlanStep& step) { return step.synchronized != nullptr; });
}

void Plan::Impl::run_recorded(std::unique_ptr<RecordedWork>& work, int& n_plain,
                              const std::function<void()>& submit) {
  if (!records() || n_plain++ == 0) return submit();
  if (!work) work = record_work(*stream, submit);
  work->run(*stream);
}

void Plan::refresh_weights() {
  Impl& p = *impl_;
  p.run_recorded(p.recorded_refresh, p.n_plain_runs[0], [&] {
    for (PlanStep& step : p.steps) {
      if (!step.params_t.empty() && step.repeats < 0) prepare(step);
    }
  });
}

void Plan::prepare(PlanStep& step) {
  const Timer timer(step.times.prepare);
  step.op->prepare(*impl_->stream, step.params_t);
  impl_->wait_if_timed();
}

void Plan::stage(const std::vector<const void*>& inputs, const std::vector<const void*>& targets,
                 const BatchContext& batch, int64_t epoch) {
  Impl& p = *impl_;
  p.with_loss = targets.size() == p.target_values.size();
  p.staged.assign(inputs.begin(), inputs.end());
  if (const Augmentation* augmentation = p.options.augmentation.get()) {
    p.inputs->wait_staged();  // the records of the micro-batch before have left the host
    augmentation->draw(batch.seed, epoch, {batch.sample_ids, static_cast<size_t>(p.options.micro_batch)},
                       p.augment_records.as<AugmentRecord>());
    p.staged.push_back(p.augment_records.data());
  }
  assert(p.staged.size() == p.input_values.size());
  if (p.with_loss) p.staged.insert(p.staged.end(), targets.begin(), targets.end());
  p.inputs->stage(p.staged, batch);
}

void Plan::wait_staged() { impl_->inputs->wait_staged(); }

void Plan::forward(const std::vector<const void*>& inputs, const std::vector<const void*>& targets,
                   const BatchContext& batch) {
  stage(inputs, targets, batch);
  forward();
}

void Plan::forward() {
  Impl& p = *impl_;
  start_forward();
  p.run_recorded(p.recorded_forward[p.with_loss], p.n_plain_runs[1], [&] {
    p.next_call = 0;
    while (!continue_forward().empty()) {
    }
  });
}

bool PlanArrivals::bring(const PlanStep& step) {
  const auto stretch =
      static_cast<int>(std::upper_bound(marks.begin(), marks.end(), step.reads_from) - marks.begin());
  if (stretch >= arrived) return true;
  arrived = stretch;
  if (arrive) (*arrive)(stretch);
  return arrive != nullptr;
}

void Plan::forward(std::span<const int64_t> marks, const std::function<void(int)>& arrive) {
  Impl& p = *impl_;
  start_forward();
  PlanArrivals arrivals{marks, static_cast<int>(marks.size()), &arrive};
  p.arrivals = &arrivals;
  if (!p.records() || p.n_plain_runs[3]++ == 0) {
    continue_forward();
    p.arrivals = nullptr;
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
  const double start = seconds();
  Impl& p = *impl_;
  const size_t n_calls = p.with_loss ? p.forward_calls.size() : p.calls_before_loss;
  for (; p.next_call < n_calls; ++p.next_call) {
    PlanStep& step = p.steps[p.forward_calls[p.next_call].step];
    if (p.arrivals && !step.params_t.empty()) {
      if (!p.arrivals->bring(step)) return {};
      prepare(step);
    }
    const Timer timer(step.times.forward);
    if (step.synchronized != nullptr) {
      if (!p.has_sums) {
        step.synchronized->forward_sums(*p.stream, step.args, step.sums.data());
        p.has_sums = true;
        forward_s_ += seconds() - start;
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
  forward_s_ += seconds() - start;
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
  const double start = seconds();
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
      backward_s_ += seconds() - start - outside;
      return step.diff_sums;
    }
    ++p.next_call;
    if (final_below && step.final_below > p.announced) {
      p.announced = step.final_below;
      const double before = seconds();
      final_below(p.announced);
      outside += seconds() - before;
      if (p.stops) break;  // the rest is recorded as another part
    }
  }
  backward_s_ += seconds() - start - outside;
  return {};
}

void Plan::Impl::forward_again(PlanStep& step) {
  const Timer timer(step.times.forward);
  if (step.op->info().aliases_src) return;
  if (step.synchronized != nullptr) {
    step.synchronized->forward_apply(*stream, step.args, steps[step.repeats].sums.data());
  } else {
    step.op->forward(*stream, step.args);
  }
  wait_if_timed();
}

void Plan::Impl::prepare_backward(PlanStep& step) {
  const Timer timer(step.times.gradient_sums);
  for (const GradientSum& sum : step.sums_of_gradients)
    sum_gradients(*stream, sum.dtype, sum.n_elements, sum.partials);
  for (size_t i = 0; i < step.param_offsets.size() && !step.adds_params; ++i)
    step.diff_params_t[i].data = gradients + step.param_offsets[i];
}

bool Plan::Impl::run_backward(PlanStep& step) {
  const Timer timer(step.times.backward);
  if (step.synchronized != nullptr && !has_sums) {
    step.synchronized->backward_sums(*stream, step.args, step.diff_sums.data());
    has_sums = true;
    return false;
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
  for (size_t i = 0; i < step.param_offsets.size() && step.adds_params; ++i) {
    float* sum = gradients + step.param_offsets[i];
    add(*stream, step.diff_params_t[i].desc.n_elements(), sum, step.diff_params_t[i].as<float>(), sum);
  }
}

std::vector<PlanStepTimes> Plan::step_times() const {
  std::vector<PlanStepTimes> all;
  for (const PlanStep& step : impl_->steps) {
    all.push_back(step.times);
    all.back().step = step.note.empty() ? step.name : step.name + ", " + step.note;
  }
  return all;
}

const double* Plan::loss_values() {
  Impl& p = *impl_;
  if (p.is_cuda()) p.stream->synchronize();
  p.loss_sums = {};
  for (size_t l = 0; p.with_loss && l < p.losses.size(); ++l) {
    const double* sums = p.losses_on_host.as<double>() + l * kLossValues;
    if (l == 0) std::copy_n(sums, kLossValues, p.loss_sums.begin());
    if (l > 0) p.loss_sums[kLossSum] += sums[kLossSum];
  }
  return p.loss_sums.data();
}

bool Plan::synchronizes() const {
  return std::any_of(impl_->steps.begin(), impl_->steps.end(),
                     [](const PlanStep& step) { return step.synchronized != nullptr; });
}

const float* Plan::output() {
  Impl& p = *impl_;
  const PlanValue& value = p.values[p.output_value];
  if (value.producer < 0) return nullptr;  // the network is empty: its output is its input
  const Tensor& output = p.steps[value.producer].dst_t[0];
  if (!p.is_cuda()) return output.as<float>();
  if (p.output_on_host.n_bytes() == 0)
    p.output_on_host = Memory::on_host(p.options.config.device, output.desc.n_bytes());
  copy(*p.stream, p.output_on_host.data(), output.data, output.desc.n_bytes());
  p.stream->synchronize();
  return p.output_on_host.as<float>();
}

const Shape& Plan::output_shape() const { return impl_->values[impl_->output_value].desc.shape; }

int64_t Plan::activation_bytes() const { return impl_->block.n_bytes(); }
int64_t Plan::scratchpad_bytes() const { return impl_->scratchpad.n_bytes(); }
int Plan::n_steps() const { return static_cast<int>(impl_->forward_calls.size()); }
int Plan::n_fused() const { return impl_->n_fused; }

int64_t Plan::value_bytes(int vertex) const {
  const int id = impl_->value_of[vertex];
  for (int other = vertex + 1; other < impl_->graph.size(); ++other) {
    if (impl_->value_of[other] == id) return 0;
  }
  const PlanValue& value = impl_->values[id];
  return value.root == id ? value.desc.n_bytes() : 0;
}

std::string Plan::str() const {
  const Impl& p = *impl_;
  std::string text = fmt::format("{:>4} {:36} {:22} {:9} {:10} {:>11}  {}\n", "", "step", "output", "type",
                                 "layout", "workspace", "");
  for (size_t s = 0; s < p.steps.size(); ++s) {
    const PlanStep& step = p.steps[s];
    const TensorDesc& dst = p.values[step.dst[0]].desc;
    text +=
        fmt::format("{:4} {:36} {:22} {:9} {:10} {:>11}  {}{}\n", s, step.name, dst.shape.str(),
                    name_of(dst.dtype), dst.layout ? dst.layout->name() : "dense",
                    step.op->info().workspace_bytes, step.note, step.op->info().aliases_src ? "view" : "");
  }
  text += fmt::format(
      "{} steps, {} layers fused into another; activations {:.1f} MiB, scratchpad {:.1f} MiB{}\n", n_steps(),
      n_fused(), static_cast<double>(activation_bytes()) / (1 << 20),
      static_cast<double>(scratchpad_bytes()) / (1 << 20), p.options.reuse_memory ? "" : " (no reuse)");
  return text;
}

}  // namespace lockstep
