#include "kernels/cpu/weight_gradient.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/transpose.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kChunkRows = 256;  // whose copy stays in the second cache level
constexpr int64_t kPad = 16;         // floats: another cache line
constexpr int64_t kLeastWide = 512;  // narrower columns are packed at full rate

/// The matrix that is transposed by sgemm is the wider one: then the result is the gradient, or its
/// transpose.
bool turns(int64_t out, int64_t in) { return in > out; }

}  // namespace

int64_t weight_gradient_scratch(int64_t rows, int64_t out, int64_t in) {
  const int64_t wide = std::max(out, in);
  if (wide < kLeastWide) return 0;
  const int64_t copy = std::min(rows, kChunkRows) * (wide + kPad);
  return padded_floats(copy) + (turns(out, in) ? padded_floats(out * in) : 0);
}

void weight_gradient(int64_t rows, int64_t out, int64_t in, const float* diff, const float* src, float* dst,
                     float* scratch) {
  const int64_t wide = std::max(out, in), narrow = std::min(out, in);
  if (wide < kLeastWide) return multiply('T', 'N', out, in, rows, diff, src, dst);
  const bool is_turned = turns(out, in);
  const float* const from = is_turned ? src : diff;
  const float* const other = is_turned ? diff : src;
  float* const copy = scratch;
  float* const sum = is_turned ? scratch + padded_floats(std::min(rows, kChunkRows) * (wide + kPad)) : dst;
  for (int64_t first = 0; first < rows; first += kChunkRows) {
    const int64_t n = std::min(kChunkRows, rows - first);
#pragma omp parallel for schedule(static) if (n * wide >= kParallelElements)
    for (int64_t r = 0; r < n; ++r)
      std::memcpy(copy + r * (wide + kPad), from + (first + r) * wide,
                  static_cast<size_t>(wide) * sizeof(float));
    check(dnnl_sgemm('T', 'N', wide, narrow, n, 1.0f, copy, wide + kPad, other + first * narrow, narrow,
                     first > 0 ? 1.0f : 0.0f, sum, narrow),
          "dnnl_sgemm");
  }
  if (is_turned) transpose(wide, narrow, sum, dst);
}

}  // namespace lockstep::cpu
