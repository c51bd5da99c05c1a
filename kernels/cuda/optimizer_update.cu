// Optimizer updates and running averages: one launch for all ranges of the arena, one pass, bound by
// memory.
#include "kernels/backend.h"
#include "kernels/cuda/update_chunks.h"
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
  __device__ void at(int64_t i, int64_t state, float factor) const {
    const Pack<float, W> gradient = load<W>(grad + i);
    const float decay = rule.weight_decay * factor;
    Pack<float, W> w = load<W>(weights + i), v;
    if constexpr (kMomentum) v = load<W>(velocity + state);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = gradient.at[k] * rule.grad_scale + decay * w.at[k];
      float step = g;
      if constexpr (kMomentum) {
        v.at[k] = rule.momentum * v.at[k] + g;
        step = rule.nesterov ? g + rule.momentum * v.at[k] : v.at[k];
      }
      w.at[k] -= rule.lr * step;
    }
    if constexpr (kMomentum) store<W>(velocity + state, v);
    store<W>(weights + i, w);
  }
};

struct Adam {
  AdamScalars scalars;
  float weight_decay;
  bool decoupled;
  const float* grad;
  float *weights, *first, *second;
  template <int W>
  __device__ void at(int64_t i, int64_t state, float factor) const {
    const float decay = weight_decay * factor;
    const float l2 = decoupled ? 0.0f : decay;
    const float keep = decoupled ? static_cast<float>(1.0 - scalars.lr * decay) : 1.0f;
    const Pack<float, W> gradient = load<W>(grad + i);
    Pack<float, W> w = load<W>(weights + i), m = load<W>(first + state), v = load<W>(second + state);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = gradient.at[k] * scalars.scale + l2 * w.at[k];
      m.at[k] = scalars.beta1 * m.at[k] + scalars.one_minus_beta1 * g;
      v.at[k] = scalars.beta2 * v.at[k] + scalars.one_minus_beta2 * (g * g);
      w.at[k] = keep * w.at[k] -
                scalars.step_size * (m.at[k] / (sqrtf(v.at[k]) * scalars.root_scale + scalars.epsilon));
    }
    store<W>(first + state, m);
    store<W>(second + state, v);
    store<W>(weights + i, w);
  }
};

struct Average {
  float scale;
  float *sums, *averages;
  template <int W>
  __device__ void at(int64_t i, int64_t, float momentum) const {
    Pack<float, W> s = load<W>(sums + i), a = load<W>(averages + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      a.at[k] = (1.0f - momentum) * a.at[k] + momentum * (s.at[k] * scale);
      s.at[k] = 0.0f;
    }
    store<W>(averages + i, a);
    store<W>(sums + i, s);
  }
};

}  // namespace

void sgd_update(Stream& stream, const SgdUpdate& rule, const UpdateRanges& ranges, const float* grad,
                float* weights, float* velocity) {
  if (rule.momentum == 0.0f) {
    over_chunks(stream, ranges, Sgd<false>{rule, grad, weights, nullptr}, are_aligned(grad, weights));
  } else {
    over_chunks(stream, ranges, Sgd<true>{rule, grad, weights, velocity},
                are_aligned(grad, weights, velocity));
  }
}

void adam_update(Stream& stream, const AdamUpdate& rule, const UpdateRanges& ranges, const float* grad,
                 float* weights, float* m, float* v) {
  over_chunks(stream, ranges, Adam{AdamScalars(rule), rule.weight_decay, rule.decoupled, grad, weights, m, v},
              are_aligned(grad, weights, m, v));
}

void average_update(Stream& stream, float scale, const UpdateRanges& ranges, float* sums, float* averages) {
  over_chunks(stream, ranges, Average{scale, sums, averages}, are_aligned(sums, averages));
}

}  // namespace lockstep::cuda
