// Fused optimizer updates over one range of the parameter arena: one pass reads gradient,
// weights and state and writes weights and state. All arrays are float32 of n elements.
// The gradient is multiplied by grad_scale first (1 / samples of the global batch).
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace lockstep {

struct SgdUpdate {
  float lr = 0.01f;
  float momentum = 0.0f;  // 0: `velocity` may be null
  bool nesterov = false;
  float weight_decay = 0.0f;  // L2: g += weight_decay * w
  float grad_scale = 1.0f;
};

/// PyTorch's form: g = grad * grad_scale + weight_decay * w; v = momentum * v + g;
/// w -= lr * (nesterov ? g + momentum * v : v). With zeroed v the first step equals PyTorch's.
void sgd_update(Stream& stream, const SgdUpdate& rule, int64_t n, const float* grad, float* weights,
                float* velocity);

struct AdamUpdate {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0.0f;
  bool decoupled = false;  // true: AdamW, w -= lr * weight_decay * w
  float grad_scale = 1.0f;
  int64_t step = 1;  // 1 for the first update; bias correction
};

/// Kingma and Ba 2015, algorithm 1, epsilon outside the corrected square root (PyTorch):
/// m, v updated; w -= lr * (m / (1-beta1^t)) / (sqrt(v / (1-beta2^t)) + epsilon).
void adam_update(Stream& stream, const AdamUpdate& rule, int64_t n, const float* grad, float* weights,
                 float* m, float* v);

/// A running average takes in the average of a step:
/// average = (1 - momentum) * average + momentum * (sum * scale).
void average_update(Stream& stream, int64_t n, float momentum, float scale, const float* sum, float* average);

}  // namespace lockstep
