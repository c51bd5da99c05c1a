// Updates by formula on the CPU: one pass, bound by memory. Compilers make no clones of templates: a macro
// writes the loop of each formula.
#include "kernels/element_update.h"

#include "kernels/cpu/update_chunks.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int kMostStates = 3;

/// Array k of the states; formulas with fewer neither read nor write it.
struct StateArrays {
  float* at[kMostStates] = {};
  StateArrays(std::span<float* const> states, int n, int64_t begin) {
    for (int k = 0; k < n; ++k) at[k] = states[static_cast<size_t>(k)] + begin;
  }
};

template <typename Formula>
LOCKSTEP_INLINE void update_loop(const ElementScalars& with, const Formula& of, int64_t n,
                                 const float* __restrict grad, float* __restrict weights, float* __restrict a,
                                 float* __restrict b, float* __restrict c) {
  const ElementScalars scalars = with;  // copies: the stores below cannot change them
  const Formula formula = of;
  for (int64_t i = 0; i < n; ++i) {
    float s[kMostStates] = {};
    if constexpr (Formula::kSlots > 0) s[0] = a[i];
    if constexpr (Formula::kSlots > 1) s[1] = b[i];
    if constexpr (Formula::kSlots > 2) s[2] = c[i];
    weights[i] = scalars.apply(formula, weights[i], grad[i], s);
    if constexpr (Formula::kSlots > 0) a[i] = s[0];
    if constexpr (Formula::kSlots > 1) b[i] = s[1];
    if constexpr (Formula::kSlots > 2) c[i] = s[2];
  }
}

LOCKSTEP_VECTORIZE void add_sign_loop(float amount, int64_t n, const float* __restrict weights,
                                      float* __restrict gradients) {
  for (int64_t i = 0; i < n; ++i) {
    const float w = weights[i];
    gradients[i] += w > 0 ? amount : w < 0 ? -amount : 0.0f;
  }
}

}  // namespace

#define LOCKSTEP_DEFINE_UPDATE(FORMULA)                                                                    \
  namespace {                                                                                              \
  LOCKSTEP_VECTORIZE void FORMULA##_loop(const ElementScalars& scalars, const FORMULA& formula, int64_t n, \
                                         const float* grad, float* weights, const StateArrays& states) {   \
    update_loop(scalars, formula, n, grad, weights, states.at[0], states.at[1], states.at[2]);             \
  }                                                                                                        \
  }                                                                                                        \
  void element_update(Stream&, const ElementUpdate& update, const FORMULA& formula,                        \
                      const UpdateRanges& ranges, const float* grad, float* weights,                       \
                      std::span<float* const> states) {                                                    \
    in_chunks(ranges, [&](const UpdateChunk& chunk) {                                                      \
      FORMULA##_loop(ElementScalars(update, chunk.factor), formula, chunk.n, grad + chunk.begin,           \
                     weights + chunk.begin, StateArrays(states, FORMULA::kSlots, chunk.state));            \
    });                                                                                                    \
  }

LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_DEFINE_UPDATE)

void add_sign(Stream&, float amount, const UpdateRanges& ranges, const float* weights, float* gradients) {
  in_chunks(ranges, [=](const UpdateChunk& chunk) {
    if (chunk.factor != 0.0f)
      add_sign_loop(amount * chunk.factor, chunk.n, weights + chunk.begin, gradients + chunk.begin);
  });
}

#undef LOCKSTEP_DEFINE_UPDATE

}  // namespace lockstep::cpu
