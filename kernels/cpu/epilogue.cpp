// See epilogue.h. Threads share the columns, so that every sum runs over the rows in order.
#include "kernels/cpu/epilogue.h"

#include <omp.h>

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kTaskElements = 1 << 14;  // of whole rows
constexpr int64_t kMostColumns = 4096;      // of one task: their sums stay in the first cache level

/// Columns of one task: neighbours in memory, as many as possible, since rows may be pages apart.
int64_t columns_of_task(int64_t columns) {
  const int64_t share = (columns + omp_get_max_threads() - 1) / omp_get_max_threads();
  return std::clamp<int64_t>((share + 63) / 64 * 64, 64, kMostColumns);
}

LOCKSTEP_VECTORIZE void add_bias_block(int64_t rows, int64_t columns, int64_t stride, const float* bias,
                                       float* data) {
  for (int64_t r = 0; r < rows; ++r, data += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) data[c] += bias[c];
  }
}

LOCKSTEP_VECTORIZE void add_bias_relu_block(int64_t rows, int64_t columns, int64_t stride, const float* bias,
                                            float* data) {
  for (int64_t r = 0; r < rows; ++r, data += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const float x = data[c] + (bias ? bias[c] : 0.0f);
      data[c] = x < 0.0f ? 0.0f : x;  // NaN stays NaN
    }
  }
}

template <Activation kActivation>
LOCKSTEP_INLINE float masked_gradient(float y, float g) {
  if (kActivation == Activation::kRelu) return y > 0.0f ? g : 0.0f;
  if (kActivation == Activation::kRelu6) return (y > 0.0f) & (y < 6.0f) ? g : 0.0f;
  if (kActivation == Activation::kTanh) return g * (1.0f - y * y);
  return g * (y * (1.0f - y));
}

// Bias along the columns ----------------------------------------------------------------------

using ColumnLoop = void (*)(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                            const float* diff_dst, float* masked, float* sums);

template <Activation kActivation>
LOCKSTEP_INLINE void column_loop(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                 const float* diff_dst, float* masked, float* sums) {
  for (int64_t r = 0; r < rows; ++r, dst += stride, diff_dst += stride, masked += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const float g = masked_gradient<kActivation>(dst[c], diff_dst[c]);
      masked[c] = g;
      sums[c] += g;
    }
  }
}

LOCKSTEP_VECTORIZE void columns_relu(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                     const float* diff_dst, float* masked, float* sums) {
  column_loop<Activation::kRelu>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void columns_relu6(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                      const float* diff_dst, float* masked, float* sums) {
  column_loop<Activation::kRelu6>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void columns_tanh(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                     const float* diff_dst, float* masked, float* sums) {
  column_loop<Activation::kTanh>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void columns_sigmoid(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                        const float* diff_dst, float* masked, float* sums) {
  column_loop<Activation::kSigmoid>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void columns_none(int64_t rows, int64_t columns, int64_t stride, const float*,
                                     const float* diff_dst, float*, float* sums) {
  for (int64_t r = 0; r < rows; ++r, diff_dst += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) sums[c] += diff_dst[c];
  }
}

ColumnLoop column_loop_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu: return columns_relu;
    case Activation::kRelu6: return columns_relu6;
    case Activation::kTanh: return columns_tanh;
    case Activation::kSigmoid: return columns_sigmoid;
    case Activation::kNone: break;
  }
  return columns_none;
}

// Bias along the rows -------------------------------------------------------------------------

constexpr int kSums = 16;  // running sums of a row; fixed, so that all instruction sets agree

float add_up(const float* sums) {
  float tree[kSums];
  std::copy_n(sums, kSums, tree);
  for (int width = kSums / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) tree[i] += tree[i + width];
  }
  return tree[0];
}

using RowLoop = void (*)(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                         float* sums);

template <typename Gradient>
LOCKSTEP_INLINE void row_loop(int64_t columns, float* sums, const Gradient& gradient) {
  float running[kSums] = {};
  int64_t c = 0;
  for (; c + kSums <= columns; c += kSums) {
#pragma GCC ivdep
    for (int i = 0; i < kSums; ++i) running[i] += gradient(c + i);
  }
  for (int i = 0; c + i < columns; ++i) running[i] += gradient(c + i);
  std::copy_n(running, kSums, sums);
}

template <Activation kActivation>
LOCKSTEP_INLINE void masking_row(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                                 float* sums) {
  row_loop(columns, sums, [=](int64_t c) LOCKSTEP_INLINE_LAMBDA {
    return masked[c] = masked_gradient<kActivation>(dst[c], diff_dst[c]);
  });
}

LOCKSTEP_VECTORIZE void row_relu(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                                 float* sums) {
  masking_row<Activation::kRelu>(columns, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void row_relu6(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                                  float* sums) {
  masking_row<Activation::kRelu6>(columns, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void row_tanh(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                                 float* sums) {
  masking_row<Activation::kTanh>(columns, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void row_sigmoid(int64_t columns, const float* dst, const float* diff_dst, float* masked,
                                    float* sums) {
  masking_row<Activation::kSigmoid>(columns, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void row_none(int64_t columns, const float*, const float* diff_dst, float*, float* sums) {
  row_loop(columns, sums, [=](int64_t c) LOCKSTEP_INLINE_LAMBDA { return diff_dst[c]; });
}

RowLoop row_loop_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu: return row_relu;
    case Activation::kRelu6: return row_relu6;
    case Activation::kTanh: return row_tanh;
    case Activation::kSigmoid: return row_sigmoid;
    case Activation::kNone: break;
  }
  return row_none;
}

LOCKSTEP_VECTORIZE void add_to_row(int64_t columns, float bias, float* row) {
  for (int64_t c = 0; c < columns; ++c) row[c] += bias;
}
LOCKSTEP_VECTORIZE void add_to_row_relu(int64_t columns, float bias, float* row) {
  for (int64_t c = 0; c < columns; ++c) {
    const float x = row[c] + bias;
    row[c] = x < 0.0f ? 0.0f : x;  // NaN stays NaN
  }
}

/// pointer + offset, or null
template <typename T>
T* at(T* pointer, int64_t offset) {
  return pointer ? pointer + offset : nullptr;
}

}  // namespace

void add_bias(int64_t rows, int64_t columns, const float* bias, bool relu, float* data) {
  if (!bias && !relu) return;
  const int64_t block = std::max<int64_t>(1, kTaskElements / columns);
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t n = std::min(block, rows - begin);
    (relu ? add_bias_relu_block : add_bias_block)(n, columns, columns, bias, data + begin * columns);
  }
}

void backward_epilogue(int64_t rows, int64_t columns, Activation activation, const float* dst,
                       const float* diff_dst, float* masked, float* diff_bias) {
  if (activation == Activation::kNone && !diff_bias) return;
  const int64_t width = columns_of_task(columns);
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t begin = 0; begin < columns; begin += width) {
    const int64_t n = std::min(width, columns - begin);
    alignas(64) float sums[kMostColumns];
    std::fill_n(sums, n, 0.0f);
    column_loop_of(activation)(rows, n, columns, at(dst, begin), diff_dst + begin, at(masked, begin), sums);
    if (diff_bias) std::copy_n(sums, n, diff_bias + begin);
  }
}

void add_bias_to_rows(int64_t rows, int64_t columns, const float* bias, bool relu, float* data) {
  if (!bias && !relu) return;
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t r = 0; r < rows; ++r) {
    (relu ? add_to_row_relu : add_to_row)(columns, bias ? bias[r] : 0.0f, data + r * columns);
  }
}

void backward_epilogue_of_rows(int64_t rows, int64_t columns, Activation activation, const float* dst,
                               const float* diff_dst, float* masked, float* diff_bias) {
  if (activation == Activation::kNone && !diff_bias) return;
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = r * columns;
    float sums[kSums];
    row_loop_of(activation)(columns, at(dst, begin), diff_dst + begin, at(masked, begin), sums);
    if (diff_bias) diff_bias[r] = add_up(sums);
  }
}

}  // namespace lockstep::cpu
