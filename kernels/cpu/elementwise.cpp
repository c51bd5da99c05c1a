// Flat vector kernels on the CPU: one pass, bound by memory. add, add_chain and fill run on the
// calling thread: the reducer calls them beside a computation that has all threads.
#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/square_sums.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_VECTORIZE void add_loop(int64_t n, const float* a, const float* b, float* dst) {
  // dst may be a or b, element by element: no iteration reads what another one writes.
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = a[i] + b[i];
}

/// dst = p[0] + (p[1] + … + (p[kPartials - 1] + last)); written out for small chains, so that
/// the compiler keeps the running sum in a register.
template <int kPartials>
LOCKSTEP_INLINE void add_chain_loop(int64_t n, const float* const* p, const float* last, float* dst) {
  const float* q[kPartials];
  for (int k = 0; k < kPartials; ++k) q[k] = p[k];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    float sum = last[i];
    for (int k = kPartials - 1; k >= 0; --k) sum = q[k][i] + sum;
    dst[i] = sum;
  }
}

LOCKSTEP_VECTORIZE void add_chain_2(int64_t n, const float* const* p, const float* last, float* dst) {
  add_chain_loop<2>(n, p, last, dst);
}
LOCKSTEP_VECTORIZE void add_chain_3(int64_t n, const float* const* p, const float* last, float* dst) {
  add_chain_loop<3>(n, p, last, dst);
}
LOCKSTEP_VECTORIZE void add_chain_4(int64_t n, const float* const* p, const float* last, float* dst) {
  add_chain_loop<4>(n, p, last, dst);
}

LOCKSTEP_VECTORIZE void fill_loop(int64_t n, float value, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = value;
}

LOCKSTEP_VECTORIZE void add_into_bfloat16(int64_t n, BFloat16* __restrict dst, const BFloat16* __restrict a) {
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<BFloat16>(to_float(dst[i]) + to_float(a[i]));
}
LOCKSTEP_VECTORIZE void widen_and_add(int64_t n, const BFloat16* __restrict a, float* __restrict sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += to_float(a[i]);
}

constexpr int64_t kGradientBlock = 2048;  // elements whose running sums stay in the first cache

/// Elements [begin, begin + n) of sum_gradients, n <= kGradientBlock.
void sum_gradients_block(int64_t begin, int64_t n, std::span<void* const> partials, float) {
  const auto at = [&](size_t k) { return static_cast<float*>(partials[k]) + begin; };
  for (size_t k = 1; k < partials.size(); ++k) add_loop(n, at(0), at(k), at(0));
}
void sum_gradients_block(int64_t begin, int64_t n, std::span<void* const> partials, BFloat16) {
  const auto at = [&](size_t k) { return static_cast<BFloat16*>(partials[k]) + begin; };
  if (partials.size() == 2) return add_into_bfloat16(n, at(0), at(1));
  float sum[kGradientBlock];
  convert_to_float32(n, at(0), sum);
  for (size_t k = 1; k < partials.size(); ++k) widen_and_add(n, at(k), sum);
  convert_to_bfloat16(n, sum, at(0));
}

template <typename T>
void sum_gradients_of(int64_t n_elements, std::span<void* const> partials) {
#pragma omp parallel for schedule(static) if (n_elements > 16 * kGradientBlock)
  for (int64_t begin = 0; begin < n_elements; begin += kGradientBlock)
    sum_gradients_block(begin, std::min(kGradientBlock, n_elements - begin), partials, T{});
}

constexpr int64_t kChunk = 4096;
constexpr int kNormLanes = 32;

LOCKSTEP_VECTORIZE void scale_loop(int64_t n, float factor, float* __restrict values) {
  for (int64_t i = 0; i < n; ++i) values[i] *= factor;
}

LOCKSTEP_VECTORIZE void clip_loop(int64_t n, float most, float* __restrict values) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = values[i];
    values[i] = x > most ? most : x < -most ? -most : x;
  }
}

}  // namespace

/// Element i of the chunk goes to lane i % 32; lanes are added as a binary tree. A float's
/// square is exact in float64.
LOCKSTEP_VECTORIZE double chunk_sum_of_squares(int64_t n, const float* src) {
  double lanes[kNormLanes] = {};
  int64_t i = 0;
  for (; i + kNormLanes <= n; i += kNormLanes)
    for (int lane = 0; lane < kNormLanes; ++lane) {
      const double x = src[i + lane];
      lanes[lane] += x * x;
    }
  for (int lane = 0; i + lane < n; ++lane) {
    const double x = src[i + lane];
    lanes[lane] += x * x;
  }
  for (int width = kNormLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

void add(Stream&, int64_t n, const float* a, const float* b, float* dst) { add_loop(n, a, b, dst); }

void add_chain(Stream&, int64_t n, std::span<const float* const> partials, const float* last, float* dst) {
  // From the right, at most four partials a pass over a block that stays in the cache; the
  // order of the additions does not depend on the grouping. dst may be any of the inputs,
  // so that sums on their way live in a buffer of their own.
  constexpr int64_t kBlock = 2048;
  float buffer[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t size = n - start < kBlock ? n - start : kBlock;
    const float* sum = last + start;
    size_t left = partials.size();
    if (left == 0 && dst != last)
      for (int64_t i = 0; i < size; ++i) dst[start + i] = sum[i];
    while (left > 0) {
      const size_t count = left < 4 ? left : 4;
      left -= count;
      const float* group[4];
      for (size_t k = 0; k < count; ++k) group[k] = partials[left + k] + start;
      float* target = left == 0 ? dst + start : buffer;
      switch (count) {
        case 1: add_loop(size, group[0], sum, target); break;
        case 2: add_chain_2(size, group, sum, target); break;
        case 3: add_chain_3(size, group, sum, target); break;
        default: add_chain_4(size, group, sum, target); break;
      }
      sum = buffer;
    }
  }
}

void fill(Stream&, int64_t n, float value, float* dst) { fill_loop(n, value, dst); }

void sum_gradients(Stream&, DType dtype, int64_t n_elements, std::span<void* const> partials) {
  if (dtype == DType::kFloat32)
    sum_gradients_of<float>(n_elements, partials);
  else
    sum_gradients_of<BFloat16>(n_elements, partials);
}

double sum_of_squares(Stream&, int64_t n, const float* src) {
  // The threads share groups of chunks; the sums of a group's chunks are added in order.
  constexpr int64_t kGroup = 256;
  double sums[kGroup];
  double sum = 0.0;
  const int64_t n_chunks = (n + kChunk - 1) / kChunk;
  for (int64_t group = 0; group < n_chunks; group += kGroup) {
    const int64_t count = std::min(kGroup, n_chunks - group);
#pragma omp parallel for schedule(static) if (count > 8)
    for (int64_t k = 0; k < count; ++k) {
      const int64_t start = (group + k) * kChunk;
      sums[k] = chunk_sum_of_squares(std::min(kChunk, n - start), src + start);
    }
    for (int64_t k = 0; k < count; ++k) sum += sums[k];
  }
  return sum;
}

void clip_norm(Stream& stream, int64_t n, float* values, double scale, double most, double* norm) {
  *norm = std::sqrt(sum_of_squares(stream, n, values)) * scale;
  if (!(*norm > most) || !std::isfinite(*norm)) return;
  const auto factor = static_cast<float>(most / (*norm + 1e-6));
  for (int64_t start = 0; start < n; start += kChunk)
    scale_loop(std::min(kChunk, n - start), factor, values + start);
}

void clip_values(Stream&, int64_t n, float* values, float most) { clip_loop(n, most, values); }

}  // namespace lockstep::cpu
