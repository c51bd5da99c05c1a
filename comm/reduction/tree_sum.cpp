// Sums of up to four vectors are one loop each; larger trees combine them in pieces that stay in the
// first-level cache. Guarded by tests/comm/tree_sum_test.cpp and host_reduction_test.cpp.
#include "comm/reduction/tree_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "kernels/bfloat16.h"
#include "kernels/vectorize.h"

namespace lockstep {
namespace {

template <typename T>
LOCKSTEP_INLINE void sum_2(const T* a, const T* b, T* dst, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = a[i] + b[i];
}
template <typename T>
LOCKSTEP_INLINE void sum_4(const T* a, const T* b, const T* c, const T* d, T* dst, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = (a[i] + b[i]) + (c[i] + d[i]);
}

// Plain functions, as clones for several instruction sets are made of functions, not of templates.
LOCKSTEP_VECTORIZE void add(const float* a, const float* b, float* dst, int64_t n) { sum_2(a, b, dst, n); }
LOCKSTEP_VECTORIZE void add(const double* a, const double* b, double* dst, int64_t n) { sum_2(a, b, dst, n); }
LOCKSTEP_VECTORIZE void add(const float* a, const float* b, const float* c, const float* d, float* dst,
                            int64_t n) {
  sum_4(a, b, c, d, dst, n);
}
LOCKSTEP_VECTORIZE void add(const double* a, const double* b, const double* c, const double* d, double* dst,
                            int64_t n) {
  sum_4(a, b, c, d, dst, n);
}

LOCKSTEP_VECTORIZE void add_rounded(const float* a, const float* b, float* dst, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = cpu::to_float(cpu::from_float<cpu::BFloat16>(a[i] + b[i]));
}

constexpr int64_t kPiece = 1024;  // elements

template <typename T>
struct Exact {
  static void sum(const T* a, const T* b, T* dst, int64_t n) { add(a, b, dst, n); }
};
struct Rounded {
  static void sum(const float* a, const float* b, float* dst, int64_t n) { add_rounded(a, b, dst, n); }
};

/// The tree over sources[k] + begin, n <= kPiece, written to dst only after all of it was read.
template <typename Add, typename T>
void sum_piece(const T* const* sources, int n_sources, int64_t begin, T* dst, int64_t n) {
  if (n_sources == 1) {
    if (dst != sources[0] + begin) std::memcpy(dst, sources[0] + begin, size_t(n) * sizeof(T));
  } else if (n_sources == 2) {
    Add::sum(sources[0] + begin, sources[1] + begin, dst, n);
  } else if (n_sources == 4 && std::is_same_v<Add, Exact<T>>) {
    add(sources[0] + begin, sources[1] + begin, sources[2] + begin, sources[3] + begin, dst, n);
  } else {
    const int n_left = int(std::bit_floor(unsigned(n_sources - 1)));
    alignas(64) T left[kPiece], right[kPiece];
    sum_piece<Add>(sources, n_left, begin, left, n);
    if (n_sources == n_left + 1) return Add::sum(left, sources[n_left] + begin, dst, n);
    sum_piece<Add>(sources + n_left, n_sources - n_left, begin, right, n);
    Add::sum(left, right, dst, n);
  }
}

template <typename Add, typename T>
void sum_all(const T* const* sources, int n_sources, T* dst, int64_t n_elements) {
  for (int64_t begin = 0; begin < n_elements; begin += kPiece)
    sum_piece<Add>(sources, n_sources, begin, dst + begin, std::min(kPiece, n_elements - begin));
}

}  // namespace

template <typename T>
void tree_sum(const T* const* sources, int n_sources, T* dst, int64_t n_elements) {
  sum_all<Exact<T>>(sources, n_sources, dst, n_elements);
}

void tree_sum_bfloat16(const float* const* sources, int n_sources, float* dst, int64_t n_elements) {
  sum_all<Rounded>(sources, n_sources, dst, n_elements);
}

template void tree_sum(const float* const*, int, float*, int64_t);
template void tree_sum(const double* const*, int, double*, int64_t);

}  // namespace lockstep
