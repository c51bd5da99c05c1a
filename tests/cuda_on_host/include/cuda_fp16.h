// __half and __half2 with the conversions that Lockstep's sources use, through _Float16. Rounds to the
// nearest, ties to even, beyond 65504 to infinity; every NaN becomes 0x7FFF, as on a GPU.
#pragma once

#include <bit>
#include <cstdint>

#include <cuda_on_host/vectors.h>

struct __half_raw {
  unsigned short x;
};

struct __half {
  __half() = default;
  __half(__half_raw raw) : bits(raw.x) {}
  __half(float value)
      : bits(value != value ? uint16_t{0x7FFF} : std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}
  operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
  operator __half_raw() const { return {bits}; }

 private:
  unsigned short bits;
};

struct alignas(4) __half2 {
  __half x, y;
};

inline float __half2float(__half value) { return value; }
inline __half __float2half(float value) { return {value}; }
inline __half __float2half_rn(float value) { return {value}; }
inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 pair) { return {pair.x, pair.y}; }
inline unsigned short __half_as_ushort(__half value) { return __half_raw(value).x; }
inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }
