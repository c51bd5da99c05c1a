// See transpose.h. Blocks of 16 x 16, in registers where there is AVX-512.
#include "kernels/cpu/transpose.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

struct Job {
  int64_t rows, columns;
  const float* src;
  const float* bias;
  float lowest;  // 0: relu, -infinity: none
  float* dst;
};

/// Columns [begin, end) of src, end - begin <= kLanes.
void transpose_columns(const Job& job, int64_t begin, int64_t end) {
  for (int64_t block = 0; block < job.rows; block += kLanes) {
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t r = block; r < std::min(job.rows, block + kLanes); ++r) {
        const float value = job.src[r * job.columns + c] + (job.bias ? job.bias[r] : 0.0f);
        job.dst[c * job.rows + r] = value < job.lowest ? job.lowest : value;  // NaN stays NaN
      }
    }
  }
}

#if defined(__x86_64__)
LOCKSTEP_AVX512 void transpose_columns_avx512(const Job& job, int64_t begin, int64_t end) {
  const __m512 lowest = _mm512_set1_ps(job.lowest);
  const uint16_t columns = first_lanes(end - begin);
  for (int64_t block = 0; block < job.rows; block += kLanes) {
    const int64_t n_rows = std::min<int64_t>(kLanes, job.rows - block);
    const float* src = job.src + block * job.columns + begin;
    __m512 r[16];
#pragma GCC unroll 16
    for (int row = 0; row < kLanes; ++row) {
      r[row] = _mm512_maskz_loadu_ps(row < n_rows ? columns : 0, src + row * job.columns);
    }
    transpose(r);
    const uint16_t lanes = first_lanes(n_rows);
    const __m512 bias = _mm512_maskz_loadu_ps(job.bias ? lanes : 0, job.bias + block);
    float* dst = job.dst + begin * job.rows + block;
#pragma GCC unroll 16
    for (int column = 0; column < kLanes; ++column) {
      // The smaller operand comes first: NaN stays NaN.
      const __m512 value = _mm512_max_ps(lowest, _mm512_add_ps(r[column], bias));
      _mm512_mask_storeu_ps(dst + column * job.rows, begin + column < end ? lanes : 0, value);
    }
  }
}
#else
void transpose_columns_avx512(const Job& job, int64_t begin, int64_t end) {
  transpose_columns(job, begin, end);
}
#endif

void run(const Job& job) {
  const bool wide = have_avx512();
#pragma omp parallel for schedule(static) if (job.rows * job.columns >= kParallelElements)
  for (int64_t begin = 0; begin < job.columns; begin += kLanes) {
    const int64_t end = std::min(job.columns, begin + kLanes);
    if (wide) {
      transpose_columns_avx512(job, begin, end);
    } else {
      transpose_columns(job, begin, end);
    }
  }
}

}  // namespace

void transpose(int64_t rows, int64_t columns, const float* src, float* dst) {
  run({rows, columns, src, nullptr, -std::numeric_limits<float>::infinity(), dst});
}

void transpose_add_bias(int64_t rows, int64_t columns, const float* src, const float* bias, bool relu,
                        float* dst) {
  run({rows, columns, src, bias, relu ? 0.0f : -std::numeric_limits<float>::infinity(), dst});
}

}  // namespace lockstep::cpu
