// How loops of this folder become vector code: plain loops, compiled once per instruction set
// and chosen when the program starts, so that one binary runs on every x86-64 machine. No sum
// is reordered and nothing is contracted (-ffp-contract=off): all clones give equal bits.
#pragma once

#include <cstdint>
#include <type_traits>

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LOCKSTEP_VECTORIZE __attribute__((target_clones("avx512f", "avx2", "default")))
#else  // the choice at start-up runs before a sanitizer is ready
#define LOCKSTEP_VECTORIZE
#endif

/// For helpers and lambdas: they must become part of the clone that calls them.
#define LOCKSTEP_INLINE inline __attribute__((always_inline))
#define LOCKSTEP_INLINE_LAMBDA __attribute__((always_inline))

namespace lockstep::cpu {

/// kLanes neighbours as one value, for what compilers do not find themselves: compare and
/// select, every second element, conversion. kLanes 8 suits AVX2 and AVX-512 alike; SSE takes
/// two registers.
template <typename T, int kLanes>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <typename T>
struct VectorOf<T, 1> {
  using Type = T;
};
template <typename T, int kLanes>
using Vector = typename VectorOf<T, kLanes>::Type;

template <typename V, typename T>
LOCKSTEP_INLINE void load(V& v, const T* from) {
  __builtin_memcpy(&v, from, sizeof(v));
}
template <typename V, typename T>
LOCKSTEP_INLINE void store(const V& v, T* to) {
  __builtin_memcpy(to, &v, sizeof(v));
}

/// v = from[0], from[2], from[4], …; reads nothing beyond the last of them.
LOCKSTEP_INLINE void load_even(float& v, const float* from) { v = *from; }
LOCKSTEP_INLINE void load_even(Vector<float, 4>& v, const float* from) {
  Vector<float, 4> a, b;
  load(a, from);
  load(b, from + 3);
  v = __builtin_shufflevector(a, b, 0, 2, 5, 7);
}
LOCKSTEP_INLINE void load_even(Vector<float, 8>& v, const float* from) {
  Vector<float, 8> a, b;
  load(a, from);
  load(b, from + 7);
  v = __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
}
/// a = from[0], from[2], …; b = from[1], from[3], …
LOCKSTEP_INLINE void load_interleaved(float& a, float& b, const float* from) {
  a = from[0];
  b = from[1];
}
LOCKSTEP_INLINE void load_interleaved(Vector<float, 4>& a, Vector<float, 4>& b, const float* from) {
  Vector<float, 4> low, high;
  load(low, from);
  load(high, from + 4);
  a = __builtin_shufflevector(low, high, 0, 2, 4, 6);
  b = __builtin_shufflevector(low, high, 1, 3, 5, 7);
}
LOCKSTEP_INLINE void load_interleaved(Vector<float, 8>& a, Vector<float, 8>& b, const float* from) {
  Vector<float, 8> low, high;
  load(low, from);
  load(high, from + 8);
  a = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
  b = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
}
/// to = a[0], b[0], a[1], b[1], …
LOCKSTEP_INLINE void store_interleaved(float a, float b, float* to) {
  to[0] = a;
  to[1] = b;
}
LOCKSTEP_INLINE void store_interleaved(const Vector<float, 4>& a, const Vector<float, 4>& b, float* to) {
  store(__builtin_shufflevector(a, b, 0, 4, 1, 5), to);
  store(__builtin_shufflevector(a, b, 2, 6, 3, 7), to + 4);
}
LOCKSTEP_INLINE void store_interleaved(const Vector<float, 8>& a, const Vector<float, 8>& b, float* to) {
  store(__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11), to);
  store(__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15), to + 8);
}

/// Element-wise conversion between int32_t and uint8_t that fits; scalars or vectors.
template <typename From, typename To>
LOCKSTEP_INLINE void convert(const From& from, To& to) {
  if constexpr (std::is_same_v<From, To>) {
    to = from;
  } else if constexpr (std::is_arithmetic_v<From>) {
    to = static_cast<To>(from);
  } else if constexpr (sizeof(To) > sizeof(From)) {
    to = __builtin_convertvector(from, To);
  } else {  // the lowest byte of each (little-endian): one shuffle, where a conversion goes lane by lane
    const auto& bytes = reinterpret_cast<const Vector<uint8_t, sizeof(From)>&>(from);
    if constexpr (sizeof(To) == 8)
      to = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);
    else
      to = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12);
  }
}

}  // namespace lockstep::cpu
