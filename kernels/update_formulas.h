// Update rules as functions of one element, shared by loops of the CPU and kernels of GPUs: float32
// arithmetic in the order written. What is the same for all elements, bias corrections above all, was
// computed in float64 by who fills the members. Each call takes the weight, the
// gradient (scaled, with L2 decay), the decay that is left to the formula, and the element's states, which it
// changes; it returns what is taken from the weight, which is written below as w -= … or w = ….
#pragma once

#include <cmath>

#ifdef __CUDACC__
#define LOCKSTEP_FORMULA __host__ __device__ __forceinline__
#else
#define LOCKSTEP_FORMULA [[gnu::always_inline]] inline
#endif

namespace lockstep {

/// w -= lr g
struct DescentFormula {
  static constexpr int kSlots = 0;
  float lr = 0.01f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float*) const { return lr * g; }
};

/// v = momentum v + gain g;  w -= rate (from_gradient g + from_velocity v). Slot: v.
struct MomentumFormula {
  static constexpr int kSlots = 1;
  float momentum = 0.9f, gain = 1, rate = 0.01f;
  float from_gradient = 0, from_velocity = 1;  // Nesterov: gain, momentum
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    s[0] = momentum * s[0] + gain * g;
    return rate * (from_gradient * g + from_velocity * s[0]);
  }
};

/// sum += g², from `start` on;  w -= rate g / (√(sum + inside) + outside).
struct AdagradFormula {
  static constexpr int kSlots = 1;
  float rate = 0.01f, inside = 0, outside = 1e-10f, start = 0;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    s[0] = (s[0] == 0.0f ? start : s[0]) + g * g;
    return rate * (g / (std::sqrt(s[0] + inside) + outside));
  }
};

/// square = keep square + take g²;  u = g / (√(square - mean² + inside) + outside), the mean of gradients
/// only where kCentered;  w -= lr u, with kMomentum w -= lr velocity after velocity = momentum velocity + u.
/// Slots: square, mean, velocity, of them those that there are. A variance that rounding makes negative is 0.
template <bool kCentered, bool kMomentum>
struct RmspropFormula {
  static constexpr int kSlots = 1 + (kCentered ? 1 : 0) + (kMomentum ? 1 : 0);
  float lr = 0.01f, keep = 0.99f, take = 0.01f, inside = 0, outside = 1e-8f, momentum = 0;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    s[0] = keep * s[0] + take * (g * g);
    float square = s[0];
    if (kCentered) {
      s[1] = keep * s[1] + take * g;
      square = square - s[1] * s[1];
      square = square > 0 ? square : 0.0f;
    }
    float u = g / (std::sqrt(square + inside) + outside);
    if (kMomentum) {
      float& velocity = s[kSlots - 1];
      velocity = momentum * velocity + u;
      u = velocity;
    }
    return lr * u;
  }
};
using PlainRmspropFormula = RmspropFormula<false, false>;
using RmspropMomentumFormula = RmspropFormula<false, true>;
using CenteredRmspropFormula = RmspropFormula<true, false>;
using CenteredRmspropMomentumFormula = RmspropFormula<true, true>;

/// square = keep square + take g²;  u = √(delta + epsilon) / √(square + epsilon) g;
/// delta = keep delta + take u²;  w -= lr u. Slots: square, delta.
struct AdadeltaFormula {
  static constexpr int kSlots = 2;
  float lr = 1, keep = 0.9f, take = 0.1f, epsilon = 1e-6f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    s[0] = keep * s[0] + take * (g * g);
    const float u = std::sqrt(s[1] + epsilon) / std::sqrt(s[0] + epsilon) * g;
    s[1] = keep * s[1] + take * (u * u);
    return lr * u;
  }
};

/// Moments m and v as Adam has them.
struct MomentsFormula {
  static constexpr int kSlots = 2;
  float beta1 = 0.9f, one_minus_beta1 = 0.1f, beta2 = 0.999f, one_minus_beta2 = 0.001f;
  LOCKSTEP_FORMULA void update(float g, float* s) const {
    s[0] = beta1 * s[0] + one_minus_beta1 * g;
    s[1] = beta2 * s[1] + one_minus_beta2 * (g * g);
  }
};

/// w -= (of_gradient g + of_mean m) / (root_scale √v + epsilon). Slots: m, v.
struct NadamFormula : MomentsFormula {
  float of_gradient = 0, of_mean = 0, root_scale = 1, epsilon = 1e-8f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    update(g, s);
    return (of_gradient * g + of_mean * s[0]) / (std::sqrt(s[1]) * root_scale + epsilon);
  }
};

/// w -= step_size m / (of_root (√v + epsilon) + constant): divided by the root (1, 0), or not at all (0, 1),
/// as long as too few gradients were seen. Slots: m, v.
struct RadamFormula : MomentsFormula {
  float step_size = 0, of_root = 1, constant = 0, epsilon = 1e-8f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    update(g, s);
    return step_size * (s[0] / (of_root * (std::sqrt(s[1]) + epsilon) + constant));
  }
};

/// largest = max(largest, v);  w -= step_size m / (root_scale √largest + epsilon). Slots: m, v, largest.
struct AmsgradFormula : MomentsFormula {
  static constexpr int kSlots = 3;
  float step_size = 0, root_scale = 1, epsilon = 1e-8f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    update(g, s);
    s[2] = s[1] > s[2] ? s[1] : s[2];
    return step_size * (s[0] / (std::sqrt(s[2]) * root_scale + epsilon));
  }
};

/// m = beta1 m + (1 - beta1) g;  u = max(beta2 u, |g| + epsilon);  w -= step_size m / u. Slots: m, u.
struct AdamaxFormula {
  static constexpr int kSlots = 2;
  float step_size = 0, beta1 = 0.9f, one_minus_beta1 = 0.1f, beta2 = 0.999f, epsilon = 1e-8f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    s[0] = beta1 * s[0] + one_minus_beta1 * g;
    const float fallen = beta2 * s[1], now = std::fabs(g) + epsilon;
    s[1] = fallen > now ? fallen : now;
    return step_size * (s[0] / s[1]);
  }
};

/// w -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g. Slot: m.
struct LionFormula {
  static constexpr int kSlots = 1;
  float lr = 1e-4f, beta1 = 0.9f, one_minus_beta1 = 0.1f, beta2 = 0.99f, one_minus_beta2 = 0.01f;
  LOCKSTEP_FORMULA float operator()(float, float g, float, float* s) const {
    const float u = beta1 * s[0] + one_minus_beta1 * g;
    s[0] = beta2 * s[0] + one_minus_beta2 * g;
    return u > 0 ? lr : u < 0 ? -lr : 0.0f;
  }
};

/// v = beta2 v + (1 - beta2) g²;  u = g / (root_scale √v + epsilon) + decay w;  z -= lr u;
/// x = (1 - c) x + c z;  w = (1 - beta1) z + beta1 x. Slots: z, v, x. Where z and x are 0, so is w, or they
/// have not begun: they begin as the weight.
struct ScheduleFreeFormula {
  static constexpr int kSlots = 3;
  float lr = 0.0025f, beta1 = 0.9f, one_minus_beta1 = 0.1f, beta2 = 0.999f, one_minus_beta2 = 0.001f;
  float root_scale = 1, epsilon = 1e-8f, c = 1, one_minus_c = 0;
  LOCKSTEP_FORMULA float operator()(float w, float g, float decay, float* s) const {
    s[1] = beta2 * s[1] + one_minus_beta2 * (g * g);
    const float u = g / (std::sqrt(s[1]) * root_scale + epsilon) + decay * w;
    const float both = std::fabs(s[0]) + std::fabs(s[2]);
    const float z = both == 0.0f ? w : s[0], x = both == 0.0f ? w : s[2];
    s[0] = z - lr * u;
    s[2] = one_minus_c * x + c * s[0];
    return w - (one_minus_beta1 * s[0] + beta1 * s[2]);
  }
};

// F(NAME) for each of them.
#define LOCKSTEP_FOR_EACH_FORMULA(F) \
  F(DescentFormula)                  \
  F(MomentumFormula)                 \
  F(AdagradFormula)                  \
  F(PlainRmspropFormula)             \
  F(RmspropMomentumFormula)          \
  F(CenteredRmspropFormula)          \
  F(CenteredRmspropMomentumFormula)  \
  F(AdadeltaFormula)                 \
  F(NadamFormula)                    \
  F(RadamFormula)                    \
  F(AmsgradFormula)                  \
  F(AdamaxFormula)                   \
  F(LionFormula)                     \
  F(ScheduleFreeFormula)

}  // namespace lockstep
