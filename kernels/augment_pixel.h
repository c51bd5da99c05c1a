// The arithmetic of one pixel in augment.h, shared by loops of the CPU and kernels of GPUs: plain float32,
// no branch, no call of libm.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/augment.h"

#define LOCKSTEP_PIXEL [[gnu::always_inline]] constexpr

namespace lockstep {

/// How places in the output (H', W') become places in the source (H, W).
struct AugmentGeometry {
  float out_x = 0, out_y = 0;  // centre of the output: (W' - 1) / 2
  float src_x = 0, src_y = 0;  // and of the source
  float per_radius = 0;        // r² = (x² + y²) per_radius

  AugmentGeometry() = default;
  AugmentGeometry(int64_t src_height, int64_t src_width, int64_t height, int64_t width)
      : out_x(static_cast<float>(width - 1) / 2),
        out_y(static_cast<float>(height - 1) / 2),
        src_x(static_cast<float>(src_width - 1) / 2),
        src_y(static_cast<float>(src_height - 1) / 2) {
    const float corner = out_x * out_x + out_y * out_y;
    per_radius = corner > 0 ? 1 / corner : 0;
  }

  LOCKSTEP_PIXEL float radius2(float x, float y) const { return (x * x + y * y) * per_radius; }
  /// Column and row of the source for (x, y) from the output's centre, within ±2^20.
  LOCKSTEP_PIXEL float column(const AugmentRecord& r, float x, float y) const {
    const float lens = 1 + r.radial * radius2(x, y);
    return bounded(r.matrix[0][0] * (x * lens) + r.matrix[0][1] * (y * lens) + r.matrix[0][2] + src_x);
  }
  LOCKSTEP_PIXEL float row(const AugmentRecord& r, float x, float y) const {
    const float lens = 1 + r.radial * radius2(x, y);
    return bounded(r.matrix[1][0] * (x * lens) + r.matrix[1][1] * (y * lens) + r.matrix[1][2] + src_y);
  }

 private:
  LOCKSTEP_PIXEL static float bounded(float place) {
    return place < -0x1p20f ? -0x1p20f : place > 0x1p20f ? 0x1p20f : place;
  }
};

/// The largest integer that is not above x, |x| < 2^31.
LOCKSTEP_PIXEL int32_t floor_of(float x) {
  const auto towards_zero = static_cast<int32_t>(x);
  return towards_zero - (static_cast<float>(towards_zero) > x ? 1 : 0);
}

/// The pixel of [0, n) that stands for pixel i, |i| <= 2^20 + 1, with kEdge and, mirrored, kReflect.
LOCKSTEP_PIXEL int32_t clamped(int32_t i, int32_t n) {
  const int32_t positive = i < 0 ? 0 : i;
  return positive < n ? positive : n - 1;
}
LOCKSTEP_PIXEL int32_t mirrored(int32_t i, int32_t n) {
  const int32_t period = n > 1 ? 2 * n - 2 : 1;
  const int32_t turns = floor_of(static_cast<float>(i) / static_cast<float>(period));
  const int32_t at = i - turns * period;  // the quotient's rounding may leave it a period beside
  const int32_t inside = at < 0 ? at + period : at >= period ? at - period : at;
  return inside < n ? inside : period - inside;
}

/// The normal number (mean 0, variance 1) of a random word: the inverse of the distribution function at
/// (2 k + 1) 2^-24, k the upper 23 bits. M. Giles, "Approximating the erfinv function", GPU Computing Gems
/// 2010, the single precision form; |values| < 5.3.
LOCKSTEP_PIXEL float logarithm(float v) {                                      // of (0, 1], relative to 1e-7
  const auto bits = std::bit_cast<uint32_t>(v) + (0x3F800000u - 0x3F3504F3u);  // mantissa from sqrt(1/2) on
  const auto exponent = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  const auto mantissa = std::bit_cast<float>((bits & 0x7FFFFFu) + 0x3F3504F3u);
  const float s = (mantissa - 1) / (mantissa + 1), z = s * s;  // log m = 2 artanh s
  float p = 2.0f / 9;
  p = p * z + 2.0f / 7;
  p = p * z + 2.0f / 5;
  p = p * z + 2.0f / 3;
  return exponent * 0.693147181f + (2 * s + s * z * p);
}
/// `root(w)` gives the square root of w >= 0.
template <typename Root>
LOCKSTEP_PIXEL float normal_of_bits(uint32_t word, const Root& root) {
  const float x = static_cast<float>(static_cast<int32_t>(word >> 9) * 2 + 1) * 0x1p-23f - 1;  // (-1, 1)
  const float w = -logarithm((1 - x) * (1 + x));
  const float a = w - 2.5f;
  float centre = 2.81022636e-08f;
  centre = 3.43273939e-07f + centre * a;
  centre = -3.5233877e-06f + centre * a;
  centre = -4.39150654e-06f + centre * a;
  centre = 0.00021858087f + centre * a;
  centre = -0.00125372503f + centre * a;
  centre = -0.00417768164f + centre * a;
  centre = 0.246640727f + centre * a;
  centre = 1.50140941f + centre * a;
  const float b = root(w) - 3;
  float tail = -0.000200214257f;
  tail = 0.000100950558f + tail * b;
  tail = 0.00134934322f + tail * b;
  tail = -0.00367342844f + tail * b;
  tail = 0.00573950773f + tail * b;
  tail = -0.0076224613f + tail * b;
  tail = 0.00943887047f + tail * b;
  tail = 1.00167406f + tail * b;
  tail = 2.83297682f + tail * b;
  return 1.41421356f * x * (w < 5 ? centre : tail);
}

}  // namespace lockstep
