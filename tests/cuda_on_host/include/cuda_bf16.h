// __nv_bfloat16 and __nv_bfloat162 with the conversions that Lockstep's sources use. Rounds to the
// nearest, ties to even; every NaN becomes 0x7FFF, as on a GPU.
#pragma once

#include <cstdint>

#include <cuda_on_host/vectors.h>
#include <bit>

struct __nv_bfloat16_raw {
  unsigned short x;
};

struct __nv_bfloat16 {
  __nv_bfloat16() = default;
  __nv_bfloat16(__nv_bfloat16_raw raw) : bits(raw.x) {}
  __nv_bfloat16(float value) {
    const uint32_t wide = std::bit_cast<uint32_t>(value);
    bits =
        value != value ? uint16_t{0x7FFF} : static_cast<uint16_t>((wide + 0x7FFFu + (wide >> 16 & 1u)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  operator __nv_bfloat16_raw() const { return {bits}; }

 private:
  unsigned short bits;
};

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat16 __float2bfloat16(float value) { return {value}; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return {value}; }
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 pair) { return {pair.x, pair.y}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return __nv_bfloat16_raw(value).x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16_raw{bits}; }
