// Vectors of the width that a file is compiled for, and a b + c rounded once where the machine can: the part
// that register tiles share. Included into the bodies of *_tiles_*.cpp, whose names are local to each.
#pragma once

#include <cstring>

#include "kernels/vectorize.h"
#if defined(__FMA__)
#include <immintrin.h>
#endif

namespace lockstep::cpu {

namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kTileRows = 12;
#elif defined(__FMA__)
constexpr int kWidth = 8, kTileRows = 6;
#else
constexpr int kWidth = 4, kTileRows = 3;
#endif

using Floats = Vector<float, kWidth>;
using Words = Vector<uint32_t, kWidth>;

LOCKSTEP_INLINE Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
LOCKSTEP_INLINE void put(float* to, const Floats& v) { __builtin_memcpy(to, &v, sizeof(v)); }
LOCKSTEP_INLINE Floats all(float value) { return value - Floats{}; }

/// a b + c, rounded once where the machine can.
LOCKSTEP_INLINE Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

}  // namespace

}  // namespace lockstep::cpu
