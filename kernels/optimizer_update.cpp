// Checks and the switch to a backend; see optimizer_update.h.
#include "kernels/optimizer_update.h"

#include <cassert>

#include "kernels/backend.h"

namespace lockstep {

void sgd_update(Stream& stream, const SgdUpdate& rule, int64_t n, const float* grad, float* weights,
                float* velocity) {
  assert(n >= 0);
  assert(rule.momentum == 0.0f || velocity);
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::sgd_update(stream, rule, n, grad, weights, velocity);
  cpu::sgd_update(stream, rule, n, grad, weights, velocity);
}

void adam_update(Stream& stream, const AdamUpdate& rule, int64_t n, const float* grad, float* weights,
                 float* m, float* v) {
  assert(n >= 0 && rule.step >= 1);
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::adam_update(stream, rule, n, grad, weights, m, v);
  cpu::adam_update(stream, rule, n, grad, weights, m, v);
}

void average_update(Stream& stream, int64_t n, float momentum, float scale, const float* sum,
                    float* average) {
  assert(n >= 0);
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::average_update(stream, n, momentum, scale, sum, average);
  cpu::average_update(stream, n, momentum, scale, sum, average);
}

}  // namespace lockstep
