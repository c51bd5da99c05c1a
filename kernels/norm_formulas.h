// Update rules whose rate depends on norms of the whole parameter, as functions of one element in two passes:
// the first gives the value u whose norm counts, the second the new weight. Between them stands ratio(), of
// the sums of squares of weights and of u. float32 but for the ratio; shared by loops of the CPU and kernels
// of GPUs.
#pragma once

#include <cmath>

#include "kernels/update_formulas.h"

namespace lockstep {

/// u = (m / (1 - beta1^t)) / (√(v / (1 - beta2^t)) + epsilon) + decay w;  w -= lr |w| / |u| u, the ratio 1
/// where a norm is 0 or where is_adaptive is 0. Slots: m, v, which the first pass changes.
struct LambFormula : MomentsFormula {
  static constexpr bool kStatesInSecond = false;
  float lr = 1e-3f, mean_scale = 1, root_scale = 1, epsilon = 1e-6f, is_adaptive = 1;
  LOCKSTEP_FORMULA float direction(float w, float decay, const float* s) const {
    return s[0] * mean_scale / (std::sqrt(s[1]) * root_scale + epsilon) + decay * w;
  }
  LOCKSTEP_FORMULA float first(float w, float g, float decay, float* s) const {
    update(g, s);
    return direction(w, decay, s);
  }
  LOCKSTEP_FORMULA double ratio(double squares_of_w, double squares_of_u, float) const {
    if (is_adaptive == 0.0f || !(squares_of_w > 0) || !(squares_of_u > 0)) return 1;
    return std::sqrt(squares_of_w) / std::sqrt(squares_of_u);
  }
  LOCKSTEP_FORMULA float second(float w, float, float decay, float ratio, float* s) const {
    return w - lr * ratio * direction(w, decay, s);
  }
};

/// u = g + decay w, or g where the norms are separate;  v = momentum v + gain ratio (g + decay w);  w -= rate
/// (from_gradient gain ratio (g + decay w) + from_velocity v), with the ratio trust |w| / (|u| + epsilon),
/// separate trust |w| / (|u| + decay |w| + epsilon), or 1 where a norm is 0 or where is_adaptive is 0. Slot:
/// v, which the second pass changes.
struct LarsFormula {
  static constexpr int kSlots = 1;
  static constexpr bool kStatesInSecond = true;
  float momentum = 0.9f, gain = 1, rate = 0.1f, from_gradient = 0, from_velocity = 1;
  float trust = 0.001f, epsilon = 0, is_adaptive = 1;
  bool is_separate = false;  // |g| + decay |w| in place of |g + decay w|
  LOCKSTEP_FORMULA float first(float w, float g, float decay, float*) const {
    return is_separate ? g : g + decay * w;
  }
  LOCKSTEP_FORMULA double ratio(double squares_of_w, double squares_of_u, float decay) const {
    if (is_adaptive == 0.0f || !(squares_of_w > 0) || !(squares_of_u > 0)) return 1;
    const double norm = std::sqrt(squares_of_w);
    const double with_decay = is_separate ? static_cast<double>(decay) * norm : 0.0;
    return static_cast<double>(trust) * norm /
           (std::sqrt(squares_of_u) + with_decay + static_cast<double>(epsilon));
  }
  LOCKSTEP_FORMULA float second(float w, float g, float decay, float ratio, float* s) const {
    const float step = gain * ratio * (g + decay * w);
    s[0] = momentum * s[0] + step;
    return w - rate * (from_gradient * step + from_velocity * s[0]);
  }
};

}  // namespace lockstep
