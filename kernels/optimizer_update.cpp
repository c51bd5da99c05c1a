// Checks and the switch to a backend; see optimizer_update.h.
#include "kernels/optimizer_update.h"

#include <cassert>
#include <cmath>

#include "kernels/backend.h"

namespace lockstep {

AdamScalars::AdamScalars(const AdamUpdate& rule)
    : beta1(rule.beta1), beta2(rule.beta2), epsilon(rule.epsilon), scale(rule.grad_scale), lr(rule.lr) {
  const auto t = static_cast<double>(rule.step);
  one_minus_beta1 = static_cast<float>(1.0 - double{rule.beta1});
  one_minus_beta2 = static_cast<float>(1.0 - double{rule.beta2});
  step_size = static_cast<float>(lr / (1.0 - std::pow(double{rule.beta1}, t)));
  root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(double{rule.beta2}, t)));
}

void sgd_update(Stream& stream, const SgdUpdate& rule, const UpdateRanges& ranges, const float* grad,
                float* weights, float* velocity) {
  assert(rule.momentum == 0.0f || velocity || ranges.list().empty());
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::sgd_update(stream, rule, ranges, grad, weights, velocity);
  cpu::sgd_update(stream, rule, ranges, grad, weights, velocity);
}

void adam_update(Stream& stream, const AdamUpdate& rule, const UpdateRanges& ranges, const float* grad,
                 float* weights, float* m, float* v) {
  assert(rule.step >= 1);
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::adam_update(stream, rule, ranges, grad, weights, m, v);
  cpu::adam_update(stream, rule, ranges, grad, weights, m, v);
}

void average_update(Stream& stream, float scale, const UpdateRanges& ranges, float* sums, float* averages) {
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::average_update(stream, scale, ranges, sums, averages);
  cpu::average_update(stream, scale, ranges, sums, averages);
}

}  // namespace lockstep
