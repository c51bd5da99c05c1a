// Shared pieces of the AVX-512 files. They are compiled for every x86-64 machine and called
// only where have_avx512() says so.
#pragma once

#include <cstdint>

namespace lockstep::cpu {

constexpr int kLanes = 16;  // floats of a vector

/// The mask of the first n lanes; all of them from 16 on.
inline uint16_t first_lanes(int64_t n) { return static_cast<uint16_t>(n >= kLanes ? 0xffff : (1 << n) - 1); }

}  // namespace lockstep::cpu

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns inside its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#define LOCKSTEP_AVX512 __attribute__((target("avx512f")))

namespace lockstep::cpu {

inline bool have_avx512() { return __builtin_cpu_supports("avx512f"); }

/// Sixteen rows of sixteen become columns: pairs, fours, then whole 128-bit quarters.
LOCKSTEP_AVX512 inline __attribute__((always_inline)) void transpose(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // r[4 g + j] now holds column j of each quarter, from rows 4 g … 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    r[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
    r[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
    r[4 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0x88);
    r[12 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

}  // namespace lockstep::cpu

#else

namespace lockstep::cpu {
inline bool have_avx512() { return false; }
}  // namespace lockstep::cpu

#endif
