// bfloat16 as loops see it: the upper half of a float32. Loops compute in float32 and convert
// where they load and store; both conversions are plain integer arithmetic that compilers
// turn into vector code on any instruction set.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/vectorize.h"

namespace lockstep::cpu {

struct BFloat16 {
  uint16_t bits;
};

LOCKSTEP_INLINE float to_float(float value) { return value; }
LOCKSTEP_INLINE float to_float(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

/// Rounds to the nearest, ties to even; NaN stays NaN (quiet).
template <typename T>
LOCKSTEP_INLINE T from_float(float value);
template <>
LOCKSTEP_INLINE float from_float<float>(float value) {
  return value;
}
template <>
LOCKSTEP_INLINE BFloat16 from_float<BFloat16>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded)};
}

/// n elements, in order. src and dst may be equal only where the types are.
void convert_to_bfloat16(int64_t n, const float* src, BFloat16* dst);
void convert_to_float32(int64_t n, const BFloat16* src, float* dst);
/// dst = src rounded to bfloat16 and back; dst may be src.
void round_to_bfloat16(int64_t n, const float* src, float* dst);

}  // namespace lockstep::cpu
