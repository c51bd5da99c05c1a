// Optimizer updates by a formula of update_formulas.h, over ranges of the parameter arena as those of
// optimizer_update.h: one pass reads gradient, weights and states and writes weights and states. All arrays
// are float32; gradients and weights are indexed alike, states by their range.
#pragma once

#include <span>

#include "kernels/device.h"
#include "kernels/update_formulas.h"
#include "kernels/update_ranges.h"

namespace lockstep {

/// What comes before a formula.
struct ElementUpdate {
  enum class Decay {
    kL2,         // g += weight_decay w
    kDecoupled,  // w -= lr weight_decay w (Loshchilov and Hutter 2019)
    kFormula,    // the formula's own
  };
  float grad_scale = 1;    // the gradient is multiplied by it first
  float weight_decay = 0;  // times the range's factor
  Decay decay = Decay::kL2;
  double lr = 0;  // of decoupled decay
};

/// The same as factors, for a range with that factor.
struct ElementScalars {
  float scale, l2 = 0, shrink = 0, decay = 0;
  LOCKSTEP_FORMULA ElementScalars(const ElementUpdate& update, float factor) : scale(update.grad_scale) {
    const float of_range = update.weight_decay * factor;
    if (update.decay == ElementUpdate::Decay::kL2) l2 = of_range;
    if (update.decay == ElementUpdate::Decay::kDecoupled)
      shrink = static_cast<float>(update.lr * static_cast<double>(of_range));
    if (update.decay == ElementUpdate::Decay::kFormula) decay = of_range;
  }
  /// Decay and step are taken from the weight together: one rounding of its size, where a factor just below 1
  /// would be off to one side in every step.
  template <typename Formula>
  LOCKSTEP_FORMULA float apply(const Formula& formula, float w, float g, float* states) const {
    return w - (shrink * w + formula(w, g * scale + l2 * w, decay, states));
  }
};

/// states: as many arrays as the formula has slots.
#define LOCKSTEP_DECLARE_UPDATE(FORMULA)                                                   \
  void element_update(Stream& stream, const ElementUpdate& update, const FORMULA& formula, \
                      const UpdateRanges& ranges, const float* grad, float* weights,       \
                      std::span<float* const> states);

LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_DECLARE_UPDATE)

/// gradients += amount sign(w) in the ranges whose factor is not 0: the subgradient of amount |w|, at 0 the
/// one that is 0.
void add_sign(Stream& stream, float amount, const UpdateRanges& ranges, const float* weights,
              float* gradients);

namespace cpu {
LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_DECLARE_UPDATE)
void add_sign(Stream&, float amount, const UpdateRanges&, const float* weights, float* gradients);
}  // namespace cpu

namespace cuda {
LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_DECLARE_UPDATE)
void add_sign(Stream&, float amount, const UpdateRanges&, const float* weights, float* gradients);
}  // namespace cuda

#undef LOCKSTEP_DECLARE_UPDATE

}  // namespace lockstep
