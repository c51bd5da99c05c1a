// Optimizer updates on the CPU: one pass, bound by memory. Options that are off cost nothing
// but a multiplication by zero or one, where that gives the same bits; else their own loop.
#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cpu/vectorize.h"

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

/// The scalars of one Adam step, computed in float64 as PyTorch does.
struct AdamScalars {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;   // lr / (1 - beta1^t)
  float root_scale;  // 1 / sqrt(1 - beta2^t)
  float epsilon, scale;
  float l2;    // weight decay that enters the gradient
  float keep;  // 1 - lr * weight_decay if decoupled, else 1
};

LOCKSTEP_VECTORIZE void adam_loop(const AdamScalars& s, int64_t n, const float* __restrict grad,
                                  float* __restrict weights, float* __restrict first,
                                  float* __restrict second) {
  const AdamScalars k = s;  // a copy: the stores below cannot change it
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    const float g = grad[i] * k.scale + k.l2 * w;
    const float m = k.beta1 * first[i] + k.one_minus_beta1 * g;
    const float v = k.beta2 * second[i] + k.one_minus_beta2 * (g * g);
    first[i] = m;
    second[i] = v;
    weights[i] = k.keep * w - k.step_size * (m / (std::sqrt(v) * k.root_scale + k.epsilon));
  }
}

/// Calls f(start, size) for chunks of the range, spread over the threads. Elements are
/// independent: the cut changes no bits.
template <typename F>
void in_chunks(int64_t n, const F& f) {
  constexpr int64_t kChunk = 1 << 14;
#pragma omp parallel for schedule(static) if (n > 2 * kChunk)
  for (int64_t start = 0; start < n; start += kChunk) f(start, std::min(kChunk, n - start));
}

}  // namespace

void sgd_update(Stream&, const SgdUpdate& rule, int64_t n, const float* grad, float* weights,
                float* velocity) {
  const auto [lr, momentum, nesterov, decay, scale] = rule;
  in_chunks(n, [=](int64_t start, int64_t size) {
    const float* g = grad + start;
    float* w = weights + start;
    if (momentum == 0.0f)
      sgd_plain(lr, decay, scale, size, g, w);
    else if (nesterov)
      sgd_nesterov(lr, decay, scale, momentum, size, g, w, velocity + start);
    else
      sgd_momentum(lr, decay, scale, momentum, size, g, w, velocity + start);
  });
}

void adam_update(Stream&, const AdamUpdate& rule, int64_t n, const float* grad, float* weights, float* m,
                 float* v) {
  const double t = static_cast<double>(rule.step), beta1 = rule.beta1, beta2 = rule.beta2, lr = rule.lr;
  AdamScalars s;
  s.beta1 = rule.beta1;
  s.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  s.beta2 = rule.beta2;
  s.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  s.step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, t)));
  s.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)));
  s.epsilon = rule.epsilon;
  s.scale = rule.grad_scale;
  s.l2 = rule.decoupled ? 0.0f : rule.weight_decay;
  s.keep = rule.decoupled ? static_cast<float>(1.0 - lr * rule.weight_decay) : 1.0f;
  in_chunks(n, [=](int64_t start, int64_t size) {
    adam_loop(s, size, grad + start, weights + start, m + start, v + start);
  });
}

LOCKSTEP_VECTORIZE void average_update(Stream&, int64_t n, float momentum, float scale, const float* sum,
                                       float* average) {
  for (int64_t i = 0; i < n; ++i) average[i] = (1.0f - momentum) * average[i] + momentum * (sum[i] * scale);
}

}  // namespace lockstep::cpu
