// Half and bfloat16 against conversions written from the formats' definitions: all 65536 halves, and floats
// at, just below and just above every rounding boundary.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// 1 sign, `n_exponent` and `n_fraction` bits.
double value_of(uint32_t bits, int n_exponent, int n_fraction) {
  const double sign = bits >> (n_exponent + n_fraction) ? -1 : 1;
  const int exponent = static_cast<int>(bits >> n_fraction) & ((1 << n_exponent) - 1);
  const double fraction = bits & ((1u << n_fraction) - 1);
  const int bias = (1 << (n_exponent - 1)) - 1;
  if (exponent == (1 << n_exponent) - 1) return fraction == 0 ? sign * kInfinity : std::nan("");
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - n_fraction);
  return sign * std::ldexp(1 + std::ldexp(fraction, -n_fraction), exponent - bias);
}

/// to_float, from_float and the boundaries between neighbours of a 16-bit format.
template <typename ToFloat, typename FromFloat>
void check(int n_exponent, int n_fraction, const ToFloat& to_float, const FromFloat& from_float) {
  const uint32_t infinity = ((1u << n_exponent) - 1) << n_fraction;
  int64_t n_checked = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const double expected = value_of(bits, n_exponent, n_fraction);
    const float wide = to_float(static_cast<uint16_t>(bits));
    ++n_checked;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide)) << bits;
      EXPECT_EQ(from_float(wide), 0x7FFF) << bits;
      continue;
    }
    EXPECT_EQ(static_cast<double>(wide), expected) << bits;
    EXPECT_EQ(from_float(wide), bits);
    const uint32_t magnitude = bits & 0x7FFF, sign = bits & 0x8000;
    if (magnitude >= infinity) continue;
    // Half way to the next larger magnitude; that of the largest is where infinity would be a number.
    const double next = magnitude + 1 == infinity ? std::ldexp(1.0, 1 << (n_exponent - 1))
                                                  : std::abs(value_of(magnitude + 1, n_exponent, n_fraction));
    const float half_way = static_cast<float>((std::abs(expected) + next) / 2);
    const auto rounded = [&](float x) { return from_float(sign != 0 ? -x : x); };
    EXPECT_EQ(rounded(half_way), sign | (magnitude + (magnitude & 1))) << bits;
    EXPECT_EQ(rounded(std::nextafter(half_way, 0.0f)), bits);
    EXPECT_EQ(rounded(std::nextafter(half_way, kInfinity)), sign | (magnitude + 1)) << bits;
  }
  EXPECT_EQ(n_checked, 65536);
}

TEST(Conversions, Half) {
  check(
      5, 10, [](uint16_t bits) { return __half2float(__ushort_as_half(bits)); },
      [](float x) { return __half_as_ushort(__float2half_rn(x)); });
  EXPECT_EQ(__half_as_ushort(__float2half_rn(1e30f)), 0x7C00);
}

TEST(Conversions, BFloat16) {
  check(
      8, 7, [](uint16_t bits) { return __bfloat162float(__ushort_as_bfloat16(bits)); },
      [](float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); });
  EXPECT_EQ(__bfloat16_as_ushort(__float2bfloat16_rn(std::bit_cast<float>(0xFF800001u))), 0x7FFF);
}

TEST(Conversions, Pairs) {
  const float2 halves = __half22float2(__floats2half2_rn(1.5f, -2.0f));
  const float2 bfloats = __bfloat1622float2(__float22bfloat162_rn(make_float2(0.25f, 3.0f)));
  EXPECT_EQ(halves.x + halves.y, -0.5f);
  EXPECT_EQ(bfloats.x * bfloats.y, 0.75f);
  EXPECT_EQ(sizeof(__half2) + sizeof(__nv_bfloat162), 8u);
}

TEST(Intrinsics, OfIntegersAndBits) {
  EXPECT_EQ(__umulhi(0xFFFFFFFFu, 0xFFFFFFFFu), 0xFFFFFFFEu);
  EXPECT_EQ(__mulhi(-2, 3), -1);
  EXPECT_EQ(__umul64hi(~0ull, 3), 2u);
  EXPECT_EQ(__popc(0xF0F0u) + __clz(1) + __ffs(8), 8 + 31 + 4);
  EXPECT_EQ(__uint_as_float(__float_as_uint(-1.5f)), -1.5f);
  EXPECT_EQ(__float_as_int(-0.0f), std::numeric_limits<int>::min());
  EXPECT_EQ(rsqrtf(4.0f) + __expf(0.0f) + __fdividef(3.0f, 2.0f), 3.0f);
  EXPECT_EQ(max(1.0f, std::nanf("")), 1.0f);
  int counter = 5;
  EXPECT_EQ(atomicAdd(&counter, 2), 5);
  EXPECT_EQ(atomicMax(&counter, 3), 7);
  EXPECT_EQ(atomicCAS(&counter, 7, 1), 7);
  EXPECT_EQ(counter, 1);
}

}  // namespace
