// Optimizer updates and running averages: one launch per range of the arena, one pass, bound by memory.
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/streaming.h"
#include "kernels/optimizer_update.h"

namespace lockstep::cuda {

namespace {

/// kMomentum false: velocity is neither read nor written.
template <bool kMomentum>
struct Sgd {
  SgdUpdate rule;
  const float* grad;
  float *weights, *velocity;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<float, W> gradient = load<W>(grad + i);
    Pack<float, W> w = load<W>(weights + i), v;
    if constexpr (kMomentum) v = load<W>(velocity + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = gradient.at[k] * rule.grad_scale + rule.weight_decay * w.at[k];
      float step = g;
      if constexpr (kMomentum) {
        v.at[k] = rule.momentum * v.at[k] + g;
        step = rule.nesterov ? g + rule.momentum * v.at[k] : v.at[k];
      }
      w.at[k] -= rule.lr * step;
    }
    if constexpr (kMomentum) store<W>(velocity + i, v);
    store<W>(weights + i, w);
  }
};

struct Adam {
  const float* grad;
  float *weights, *first, *second;
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;   // lr / (1 - beta1^t)
  float root_scale;  // 1 / sqrt(1 - beta2^t)
  float epsilon, scale;
  float l2;    // weight decay that enters the gradient
  float keep;  // 1 - lr * weight_decay if decoupled, else 1
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<float, W> gradient = load<W>(grad + i);
    Pack<float, W> w = load<W>(weights + i), m = load<W>(first + i), v = load<W>(second + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = gradient.at[k] * scale + l2 * w.at[k];
      m.at[k] = beta1 * m.at[k] + one_minus_beta1 * g;
      v.at[k] = beta2 * v.at[k] + one_minus_beta2 * (g * g);
      w.at[k] = keep * w.at[k] - step_size * (m.at[k] / (sqrtf(v.at[k]) * root_scale + epsilon));
    }
    store<W>(first + i, m);
    store<W>(second + i, v);
    store<W>(weights + i, w);
  }
};

struct Average {
  float momentum, scale;
  const float* sum;
  float* average;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<float, W> s = load<W>(sum + i);
    Pack<float, W> a = load<W>(average + i);
#pragma unroll
    for (int k = 0; k < W; ++k) a.at[k] = (1.0f - momentum) * a.at[k] + momentum * (s.at[k] * scale);
    store<W>(average + i, a);
  }
};

}  // namespace

void sgd_update(Stream& stream, const SgdUpdate& rule, int64_t n, const float* grad, float* weights,
                float* velocity) {
  if (rule.momentum == 0.0f) {
    stream_over<4>(stream, n, Sgd<false>{rule, grad, weights, nullptr}, grad, weights);
  } else {
    stream_over<4>(stream, n, Sgd<true>{rule, grad, weights, velocity}, grad, weights, velocity);
  }
}

void adam_update(Stream& stream, const AdamUpdate& rule, int64_t n, const float* grad, float* weights,
                 float* m, float* v) {
  const double t = static_cast<double>(rule.step), beta1 = rule.beta1, beta2 = rule.beta2, lr = rule.lr;
  Adam adam{grad, weights, m, v};
  adam.beta1 = rule.beta1;
  adam.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  adam.beta2 = rule.beta2;
  adam.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  adam.step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, t)));
  adam.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)));
  adam.epsilon = rule.epsilon;
  adam.scale = rule.grad_scale;
  adam.l2 = rule.decoupled ? 0.0f : rule.weight_decay;
  adam.keep = rule.decoupled ? static_cast<float>(1.0 - lr * rule.weight_decay) : 1.0f;
  stream_over<4>(stream, n, adam, grad, weights, m, v);
}

void average_update(Stream& stream, int64_t n, float momentum, float scale, const float* sum,
                    float* average) {
  stream_over<4>(stream, n, Average{momentum, scale, sum, average}, sum, average);
}

}  // namespace lockstep::cuda
