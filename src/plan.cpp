#include "src/plan.h"

#include <fmt/format.h>

#include <cassert>
#include <chrono>

#include "kernels/elementwise.h"
#include "src/plan_impl.h"

namespace lockstep {

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Plan::Plan(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const PlanOptions& options)
    : impl_(std::make_unique<Impl>(graph, arena, options)) {
  impl_->compile(loss);
  impl_->bind();
}

Plan::~Plan() = default;

void Plan::refresh_weights() {
  for (PlanStep& step : impl_->steps) {
    if (!step.params_t.empty()) step.op->prepare(*impl_->stream, step.params_t);
  }
}

void Plan::forward(const std::vector<const void*>& inputs, const void* target, const BatchContext& batch) {
  const double start = seconds();
  Impl& p = *impl_;
  assert(inputs.size() == p.input_values.size());
  p.batch = batch;
  for (auto& [value, tensor] : p.external) {
    const void* data = target;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (p.input_values[i] == value) data = inputs[i];
    }
    tensor->data = const_cast<void*>(data);
  }
  for (int s = 0; s < static_cast<int>(p.steps.size()); ++s) {
    if (s == p.loss_step && target == nullptr) break;
    PlanStep& step = p.steps[s];
    if (!step.op->info().aliases_src) step.op->forward(*p.stream, step.args);
  }
  forward_s_ += seconds() - start;
}

void Plan::backward(float* gradients, const std::function<void(int64_t)>& final_below) {
  const double start = seconds();
  double outside = 0;
  Impl& p = *impl_;
  int64_t announced = 0;
  for (int s = static_cast<int>(p.steps.size()) - 1; s >= 0; --s) {
    PlanStep& step = p.steps[s];
    if (step.runs_backward) {
      for (const float* partial : step.diff_partials) {
        float* diff = step.diff_dst_t[0].as<float>();
        add(*p.stream, step.diff_dst_t[0].desc.n_bytes() / 4, diff, partial, diff);
      }
      for (size_t i = 0; i < step.param_offsets.size(); ++i)
        step.diff_params_t[i].data = gradients + step.param_offsets[i];
      if (!step.op->info().aliases_src) step.op->backward(*p.stream, step.args);
    }
    if (final_below && step.final_below > announced) {
      announced = step.final_below;
      const double call = seconds();
      final_below(announced);
      outside += seconds() - call;
    }
  }
  backward_s_ += seconds() - start - outside;
}

const double* Plan::loss_values() const { return impl_->steps[impl_->loss_step].dst_t[0].as<double>(); }

const float* Plan::output() const { return impl_->steps[impl_->loss_step].src_t[0].as<float>(); }

const Shape& Plan::output_shape() const { return impl_->values[impl_->output_value].desc.shape; }

int64_t Plan::activation_bytes() const { return impl_->block.n_bytes(); }
int64_t Plan::scratchpad_bytes() const { return impl_->scratchpad.n_bytes(); }

std::string Plan::str() const {
  std::string text =
      fmt::format("{:3} {:28} {:24} {:12} {:>10}  {}\n", "", "step", "output", "layout", "workspace", "");
  for (size_t s = 0; s < impl_->steps.size(); ++s) {
    const PlanStep& step = impl_->steps[s];
    const TensorDesc& dst = impl_->values[step.dst[0]].desc;
    text += fmt::format("{:3} {:28} {:24} {:12} {:>10}  {}{}\n", s, step.name, dst.shape.str(),
                        dst.layout ? dst.layout->name() : "dense", step.op->info().workspace_bytes, step.note,
                        step.op->info().aliases_src ? "view" : "");
  }
  text += fmt::format("activations {} bytes, scratchpad {} bytes{}\n", activation_bytes(), scratchpad_bytes(),
                      impl_->options.reuse_memory ? "" : " (no reuse)");
  return text;
}

}  // namespace lockstep
