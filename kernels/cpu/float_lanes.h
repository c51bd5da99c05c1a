// Neighbours in memory, float32 or bfloat16, as vectors of float32, for loops that are
// templates on the element type.
#pragma once

#include <utility>

#include "kernels/bfloat16.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

template <int kLanes>
LOCKSTEP_INLINE void load_floats(Vector<float, kLanes>& v, const float* from) {
  load(v, from);
}
template <int kLanes>
LOCKSTEP_INLINE void load_floats(Vector<float, kLanes>& v, const BFloat16* from) {
  if constexpr (kLanes == 1) {
    v = to_float(*from);
  } else {
    Vector<uint16_t, kLanes> half;
    load(half, from);
    const Vector<uint32_t, kLanes> word = __builtin_convertvector(half, Vector<uint32_t, kLanes>) << 16;
    load(v, &word);
  }
}

template <int kLanes>
LOCKSTEP_INLINE void store_floats(const Vector<float, kLanes>& v, float* to) {
  store(v, to);
}
/// Rounds as from_float.
template <int kLanes>
LOCKSTEP_INLINE void store_floats(const Vector<float, kLanes>& v, BFloat16* to) {
  if constexpr (kLanes == 1) {
    *to = from_float<BFloat16>(v);
  } else {
    using Word = Vector<uint32_t, kLanes>;
    using Signed = Vector<int32_t, kLanes>;
    Word bits;
    load(bits, &v);
    const Word rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    const Word nan = (bits >> 16) | 0x40u;
    const Signed magnitude = (Signed)(bits & 0x7FFFFFFFu);
    const Word word = magnitude > 0x7F800000 ? nan : rounded;
    store(__builtin_convertvector(word, Vector<uint16_t, kLanes>), to);
  }
}

/// f(Constant 0), …, f(Constant n - 1): a loop whose arrays stay in registers.
template <int kN, typename F>
LOCKSTEP_INLINE void unrolled(const F& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) LOCKSTEP_INLINE_LAMBDA {
    (f(std::integral_constant<int, i>()), ...);
  }
  (std::make_integer_sequence<int, kN>());
}

}  // namespace lockstep::cpu
