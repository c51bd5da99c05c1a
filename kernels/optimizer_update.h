// Fused optimizer updates over ranges of the parameter arena: one pass reads gradient, weights and
// state and writes weights and state. All arrays are float32; gradients and weights are indexed alike,
// states by their range. The gradient is multiplied by grad_scale first (1 / samples of the global batch).
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/update_ranges.h"

namespace lockstep {

struct SgdUpdate {
  float lr = 0.01f;
  float momentum = 0.0f;  // 0: `velocity` may be null
  bool nesterov = false;
  float weight_decay = 0.0f;  // L2: g += weight_decay * w; times the range's factor
  float grad_scale = 1.0f;
};

/// PyTorch's form: g = grad * grad_scale + weight_decay * w; v = momentum * v + g;
/// w -= lr * (nesterov ? g + momentum * v : v). With zeroed v the first step equals PyTorch's.
void sgd_update(Stream& stream, const SgdUpdate& rule, const UpdateRanges& ranges, const float* grad,
                float* weights, float* velocity);

struct AdamUpdate {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0.0f;  // times the range's factor
  bool decoupled = false;     // true: AdamW, w -= lr * weight_decay * w
  float grad_scale = 1.0f;
  int64_t step = 1;  // 1 for the first update; bias correction
};

/// Kingma and Ba 2015, algorithm 1, epsilon outside the corrected square root (PyTorch):
/// m, v updated; w -= lr * (m / (1-beta1^t)) / (sqrt(v / (1-beta2^t)) + epsilon).
void adam_update(Stream& stream, const AdamUpdate& rule, const UpdateRanges& ranges, const float* grad,
                 float* weights, float* m, float* v);

/// Running averages, indexed as their sums are, take in the average of a step; a range's factor is
/// their momentum: average = (1 - factor) * average + factor * (sum * scale). The sums become zero.
void average_update(Stream& stream, float scale, const UpdateRanges& ranges, float* sums, float* averages);

/// What an Adam step multiplies with, the same for all elements; computed in float64 as PyTorch does.
struct AdamScalars {
  explicit AdamScalars(const AdamUpdate& rule);
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;   // lr / (1 - beta1^t)
  float root_scale;  // 1 / sqrt(1 - beta2^t)
  float epsilon, scale;
  double lr;
};

}  // namespace lockstep
