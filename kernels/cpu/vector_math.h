// Elementary functions for vector loops: plain float32 arithmetic that compilers turn into vector
// code, good to about 1 ulp and of equal bits on every host, where libm would be called once per
// element and may differ between hosts.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/vectorize.h"

namespace lockstep::cpu {

/// first ? a : b, without a branch: compilers sink what one arm alone needs behind the condition, and such a
/// loop is no vector code.
LOCKSTEP_INLINE float select(bool first, float a, float b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(first);
  return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & mask) | (std::bit_cast<uint32_t>(b) & ~mask));
}

/// x = n ln 2 + r, |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 p(r) by its Taylor polynomial. For |x| < 100.
struct ExponentParts {
  float series;  // exp(r) - 1
  float power;   // 2^n
};
LOCKSTEP_INLINE ExponentParts exponent_parts(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts (Cody and Waite)
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u;
  return {p * r * r + r, std::bit_cast<float>(power)};
}

/// exp(x) for x <= 0; 0 below -87.33, where float32 leaves its normal range. NaN stays NaN.
LOCKSTEP_INLINE float exp_nonpositive(float x) {
  const ExponentParts e = exponent_parts(x);
  const float y = (e.series + 1.0f) * e.power;
  return select(x < -87.33f, 0.0f, y);
}

/// exp(x) - 1 for x <= 0, to about 1 ulp near 0 too. NaN stays NaN.
LOCKSTEP_INLINE float expm1_nonpositive(float x) {
  const ExponentParts e = exponent_parts(x);
  const float y = e.series * e.power + (e.power - 1.0f);
  return select(x < -87.33f, -1.0f, y);
}

/// 1 / (1 + exp(-x)). NaN stays NaN.
LOCKSTEP_INLINE float sigmoid(float x) {
  const float e = exp_nonpositive(select(x > 0.0f, -x, x));
  return select(x > 0.0f, 1.0f, e) / (1.0f + e);
}

/// NaN stays NaN.
LOCKSTEP_INLINE float tanh(float x) {
  const float e = expm1_nonpositive(2.0f * select(x > 0.0f, -x, x));
  const float y = e / (2.0f + e);
  return select(x > 0.0f, -y, y);
}

/// log(1 + e) for 0 <= e <= 1: 2 artanh(e / (2 + e)) by its series. NaN stays NaN.
LOCKSTEP_INLINE float log1p_of_unit(float e) {
  const float s = e / (2.0f + e), z = s * s;  // s <= 1/3
  float p = 1.0f / 15;
  p = p * z + 1.0f / 13;
  p = p * z + 1.0f / 11;
  p = p * z + 1.0f / 9;
  p = p * z + 1.0f / 7;
  p = p * z + 1.0f / 5;
  p = p * z + 1.0f / 3;
  return 2.0f * (s + s * z * p);
}

/// The error function, a quotient of polynomials as in Eigen, within 4e-7. NaN stays NaN.
LOCKSTEP_INLINE float erf(float x) {
  const float s = x * x;
  float p = -2.72614225801306e-10f;
  p = p * s + 2.77068142495902e-08f;
  p = p * s + -2.10102402082508e-06f;
  p = p * s + -5.69250639462346e-05f;
  p = p * s + -7.34990630326855e-04f;
  p = p * s + -2.95459980854025e-03f;
  p = p * s + -1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * s + -2.13374055278905e-04f;
  q = q * s + -1.68282697438203e-03f;
  q = q * s + -7.37332916720468e-03f;
  q = q * s + -1.42647390514189e-02f;
  const float y = x * p / q;
  return select(x > 4.0f, 1.0f, select(x < -4.0f, -1.0f, y));  // beyond, it is 1 in float32
}

}  // namespace lockstep::cpu
