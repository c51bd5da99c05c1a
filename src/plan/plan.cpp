#include "src/plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/elementwise.h"
#include "src/data/augment/augment.h"
#include "src/plan/plan_impl.h"
#include "src/plan/stopwatch.h"

namespace lockstep {

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
  const AddSeconds timing(step.times.prepare);
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
  p.n_valid_staged = batch.n_valid;
}

void Plan::stage(const MicroBatch& batch, const StepKey& key) {
  Impl& p = *impl_;
  BatchContext context;
  context.seed = key.seed;
  context.step = key.step;
  context.n_valid = batch.n_valid;
  context.sample_ids = batch.sample_ids.data();
  context.loss_scale = key.loss_scale;
  const auto first_target =
      batch.data.begin() + static_cast<int64_t>(p.input_values.size()) - (p.records_value >= 0);
  p.batch_inputs.assign(batch.data.begin(), first_target);
  p.batch_targets.assign(first_target, batch.data.end());
  stage(p.batch_inputs, p.batch_targets, context, batch.epoch);
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

int64_t Plan::state_elements() const { return impl_->state_elements; }

void Plan::set_states(const float* from) {
  Impl& p = *impl_;
  if (p.states.empty()) return;
  auto* const to = p.states_in.as<float>();
  if (from) {
    copy(*p.stream, to, from, p.states_in.n_bytes());
  } else {
    fill(*p.stream, p.state_elements, 0.0f, to);
  }
}

void Plan::get_states(float* to) {
  Impl& p = *impl_;
  for (const PlanState& state : p.states) {
    const PlanValue& value = p.values[state.out];
    const PlanStep& step = p.steps[value.producer];
    const auto at = std::find(step.dst.begin(), step.dst.end(), state.out) - step.dst.begin();
    copy(*p.stream, to + state.offset, step.dst_t[static_cast<size_t>(at)].data, value.desc.n_bytes());
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
  return std::any_of(impl_->steps.begin(), impl_->steps.end(), [](const PlanStep& step) {
    return step.synchronized != nullptr && !step.is_as_evaluated;
  });
}

const float* Plan::on_host(int value, Memory& memory) {
  Impl& p = *impl_;
  const int producer = p.values[value].producer;
  if (producer < 0) return nullptr;  // the network is empty: its output is its input
  const PlanStep& step = p.steps[producer];
  const auto at = std::find(step.dst.begin(), step.dst.end(), value) - step.dst.begin();
  const Tensor& tensor = step.dst_t[static_cast<size_t>(at)];
  if (!p.is_cuda()) return tensor.as<float>();
  if (memory.n_bytes() == 0) memory = Memory::on_host(p.options.config.device, tensor.desc.n_bytes());
  copy(*p.stream, memory.data(), tensor.data, tensor.desc.n_bytes());
  p.stream->synchronize();
  return memory.as<float>();
}

const float* Plan::output() { return on_host(impl_->output_value, impl_->output_on_host); }

const float* Plan::shown(size_t i) { return on_host(impl_->shown_values[i], impl_->shown_on_host[i]); }

const float* Plan::input_gradient(size_t i) {
  Impl& p = *impl_;
  const Tensor& gradient = p.steps[p.input_gradient_steps[i]].diff_dst_t[0];
  if (!p.is_cuda()) return gradient.as<float>();
  p.input_gradients_on_host.resize(p.input_gradient_steps.size());
  Memory& memory = p.input_gradients_on_host[i];
  if (memory.n_bytes() == 0) memory = Memory::on_host(p.options.config.device, gradient.desc.n_bytes());
  copy(*p.stream, memory.data(), gradient.data, gradient.desc.n_bytes());
  p.stream->synchronize();
  return memory.as<float>();
}

const Shape& Plan::shown_shape(size_t i) const { return impl_->values[impl_->shown_values[i]].desc.shape; }

Judged Plan::judged(bool compares) {
  Impl& p = *impl_;
  const PlanStep& loss = p.steps[p.losses[0].step];
  Judged judged;
  judged.loss_values = loss_values();
  judged.n_valid = p.n_valid;
  judged.sample = loss.src_t[0].desc.shape.without_front();
  if (!compares) return judged;
  std::array<const void*, 2> arrays{loss.src_t[0].data, loss.src_t[1].data};
  for (size_t i = 0; i < arrays.size() && p.is_cuda(); ++i) {
    Memory& on_host = p.judged_on_host[i];
    const int64_t n_bytes = loss.src_t[i].desc.n_bytes();
    if (on_host.n_bytes() == 0) on_host = Memory::on_host(p.options.config.device, n_bytes);
    copy(*p.stream, on_host.data(), arrays[i], n_bytes);
    arrays[i] = on_host.data();
  }
  if (p.is_cuda()) p.stream->synchronize();
  judged.prediction = static_cast<const float*>(arrays[0]);
  judged.target = arrays[1];
  return judged;
}

const Shape& Plan::output_shape() const { return impl_->values[impl_->output_value].desc.shape; }

int64_t Plan::activation_bytes() const { return impl_->block_bytes; }
int64_t Plan::scratchpad_bytes() const { return impl_->scratchpad->n_bytes(); }
int Plan::n_steps() const { return static_cast<int>(impl_->forward_calls.size()); }
int Plan::n_fused() const { return impl_->n_fused; }

int64_t Plan::value_bytes(int vertex) const {
  const int id = impl_->value_of[vertex];
  if (id < 0) return 0;
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
  int64_t n_alike = 0;  // steps of a scan like its first
  const auto tell_alike = [&] {
    if (n_alike > 0)
      text += fmt::format("     … and {} like these, for the further steps of the scan\n", n_alike);
    n_alike = 0;
  };
  for (size_t s = 0; s < p.steps.size(); ++s) {
    const PlanStep& step = p.steps[s];
    if (step.vertex >= 0 && p.graph.vertex(step.vertex).scan_step > 0) {
      ++n_alike;
      continue;
    }
    tell_alike();
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
