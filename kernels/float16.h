// IEEE's half precision as files hold it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lockstep {

/// Exact: every number of 16 bits is one of 32.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000U} << 16, exponent = half >> 10 & 31U, mantissa = half & 0x3ffU;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(mantissa), -24), sign ? -1.0F : 1.0F);
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

}  // namespace lockstep
