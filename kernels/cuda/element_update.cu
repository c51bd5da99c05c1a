// Updates by formula on a GPU: one launch for all ranges of the arena, one pass, bound by memory.
#include "kernels/element_update.h"

#include <algorithm>

#include "kernels/cuda/update_chunks.h"

namespace lockstep::cuda {

namespace {

template <typename Formula>
struct ByFormula {
  static constexpr int kArrays = Formula::kSlots > 0 ? Formula::kSlots : 1;
  ElementUpdate update;
  Formula formula;
  const float* grad;
  float *weights, *states[kArrays];
  template <int W>
  __device__ void at(int64_t i, int64_t state, float factor) const {
    const ElementScalars scalars(update, factor);
    const Pack<float, W> g = load<W>(grad + i);
    Pack<float, W> w = load<W>(weights + i), s[kArrays];
#pragma unroll
    for (int a = 0; a < Formula::kSlots; ++a) s[a] = load<W>(states[a] + state);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      float of_element[kArrays];
#pragma unroll
      for (int a = 0; a < Formula::kSlots; ++a) of_element[a] = s[a].at[k];
      w.at[k] = scalars.apply(formula, w.at[k], g.at[k], of_element);
#pragma unroll
      for (int a = 0; a < Formula::kSlots; ++a) s[a].at[k] = of_element[a];
    }
#pragma unroll
    for (int a = 0; a < Formula::kSlots; ++a) store<W>(states[a] + state, s[a]);
    store<W>(weights + i, w);
  }
};

template <typename Formula>
void update_by(Stream& stream, const ElementUpdate& update, const Formula& formula,
               const UpdateRanges& ranges, const float* grad, float* weights,
               std::span<float* const> states) {
  ByFormula<Formula> body{update, formula, grad, weights, {}};
  bool is_aligned = are_aligned(grad, weights);
  for (int a = 0; a < Formula::kSlots; ++a) {
    body.states[a] = states[static_cast<size_t>(a)];
    is_aligned = is_aligned && are_aligned(body.states[a]);
  }
  over_chunks(stream, ranges, body, is_aligned);
}

struct AddSign {
  float amount;
  const float* weights;
  float* gradients;
  template <int W>
  __device__ void at(int64_t i, int64_t, float factor) const {
    if (factor == 0.0f) return;
    const float of_range = amount * factor;
    const Pack<float, W> w = load<W>(weights + i);
    Pack<float, W> g = load<W>(gradients + i);
#pragma unroll
    for (int k = 0; k < W; ++k) g.at[k] += w.at[k] > 0 ? of_range : w.at[k] < 0 ? -of_range : 0.0f;
    store<W>(gradients + i, g);
  }
};

}  // namespace

#define LOCKSTEP_DEFINE_UPDATE(FORMULA)                                                    \
  void element_update(Stream& stream, const ElementUpdate& update, const FORMULA& formula, \
                      const UpdateRanges& ranges, const float* grad, float* weights,       \
                      std::span<float* const> states) {                                    \
    update_by(stream, update, formula, ranges, grad, weights, states);                     \
  }

LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_DEFINE_UPDATE)

void add_sign(Stream& stream, float amount, const UpdateRanges& ranges, const float* weights,
              float* gradients) {
  over_chunks(stream, ranges, AddSign{amount, weights, gradients}, are_aligned(weights, gradients));
}

#undef LOCKSTEP_DEFINE_UPDATE

}  // namespace lockstep::cuda
