// Optimizer updates on the CPU: one pass, bound by memory. Options that are off cost nothing
// but a multiplication by zero or one, where that gives the same bits; else their own loop.
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cpu/update_chunks.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_VECTORIZE void sgd_plain(float lr, float decay, float scale, int64_t n, const float* __restrict grad,
                                  float* __restrict weights) {
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    const float g = grad[i] * scale + decay * w;
    weights[i] = w - lr * g;
  }
}

LOCKSTEP_VECTORIZE void sgd_momentum(float lr, float decay, float scale, float momentum, int64_t n,
                                     const float* __restrict grad, float* __restrict weights,
                                     float* __restrict velocity) {
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    const float g = grad[i] * scale + decay * w;
    const float v = momentum * velocity[i] + g;
    velocity[i] = v;
    weights[i] = w - lr * v;
  }
}

LOCKSTEP_VECTORIZE void sgd_nesterov(float lr, float decay, float scale, float momentum, int64_t n,
                                     const float* __restrict grad, float* __restrict weights,
                                     float* __restrict velocity) {
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    const float g = grad[i] * scale + decay * w;
    const float v = momentum * velocity[i] + g;
    velocity[i] = v;
    weights[i] = w - lr * (g + momentum * v);
  }
}

/// l2: weight decay that enters the gradient; keep: 1 - lr * weight decay if decoupled, else 1.
LOCKSTEP_VECTORIZE void adam_loop(const AdamScalars& s, float l2, float keep, int64_t n,
                                  const float* __restrict grad, float* __restrict weights,
                                  float* __restrict first, float* __restrict second) {
  const AdamScalars k = s;  // a copy: the stores below cannot change it
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    const float g = grad[i] * k.scale + l2 * w;
    const float m = k.beta1 * first[i] + k.one_minus_beta1 * g;
    const float v = k.beta2 * second[i] + k.one_minus_beta2 * (g * g);
    first[i] = m;
    second[i] = v;
    weights[i] = keep * w - k.step_size * (m / (std::sqrt(v) * k.root_scale + k.epsilon));
  }
}

LOCKSTEP_VECTORIZE void average(float momentum, float scale, int64_t n, float* __restrict sums,
                                float* __restrict averages) {
  for (int64_t i = 0; i < n; ++i) {
    averages[i] = (1.0f - momentum) * averages[i] + momentum * (sums[i] * scale);
    sums[i] = 0.0f;
  }
}

}  // namespace

void sgd_update(Stream&, const SgdUpdate& rule, const UpdateRanges& ranges, const float* grad, float* weights,
                float* velocity) {
  const auto [lr, momentum, nesterov, weight_decay, scale] = rule;
  in_chunks(ranges, [=](const UpdateChunk& chunk) {
    const float decay = weight_decay * chunk.factor;
    const float* g = grad + chunk.begin;
    float* w = weights + chunk.begin;
    if (momentum == 0.0f)
      sgd_plain(lr, decay, scale, chunk.n, g, w);
    else if (nesterov)
      sgd_nesterov(lr, decay, scale, momentum, chunk.n, g, w, velocity + chunk.state);
    else
      sgd_momentum(lr, decay, scale, momentum, chunk.n, g, w, velocity + chunk.state);
  });
}

void adam_update(Stream&, const AdamUpdate& rule, const UpdateRanges& ranges, const float* grad,
                 float* weights, float* m, float* v) {
  const AdamScalars scalars(rule);
  in_chunks(ranges, [=](const UpdateChunk& chunk) {
    const float decay = rule.weight_decay * chunk.factor;
    const float l2 = rule.decoupled ? 0.0f : decay;
    const float keep = rule.decoupled ? static_cast<float>(1.0 - scalars.lr * decay) : 1.0f;
    adam_loop(scalars, l2, keep, chunk.n, grad + chunk.begin, weights + chunk.begin, m + chunk.state,
              v + chunk.state);
  });
}

void average_update(Stream&, float scale, const UpdateRanges& ranges, float* sums, float* averages) {
  in_chunks(ranges, [=](const UpdateChunk& chunk) {
    average(chunk.factor, scale, chunk.n, sums + chunk.begin, averages + chunk.begin);
  });
}

}  // namespace lockstep::cpu
