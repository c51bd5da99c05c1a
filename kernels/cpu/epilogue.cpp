// See epilogue.h. Threads share the columns, so that every sum runs over the rows in order.
#include "kernels/cpu/epilogue.h"

#include <algorithm>

#include "kernels/cpu/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kColumns = 256;               // of one task: 1 KiB of a row
constexpr int64_t kParallelElements = 1 << 15;  // below, a second thread costs more than it brings

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
LOCKSTEP_INLINE void backward_loop(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                   const float* diff_dst, float* masked, float* sums) {
  for (int64_t r = 0; r < rows; ++r, dst += stride, diff_dst += stride, masked += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const float y = dst[c];
      float g = diff_dst[c];
      if (kActivation == Activation::kRelu) g = y > 0.0f ? g : 0.0f;
      if (kActivation == Activation::kTanh) g *= 1.0f - y * y;
      if (kActivation == Activation::kSigmoid) g *= y * (1.0f - y);
      masked[c] = g;
      sums[c] += g;
    }
  }
}

LOCKSTEP_VECTORIZE void backward_relu(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                      const float* diff_dst, float* masked, float* sums) {
  backward_loop<Activation::kRelu>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void backward_tanh(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                      const float* diff_dst, float* masked, float* sums) {
  backward_loop<Activation::kTanh>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void backward_sigmoid(int64_t rows, int64_t columns, int64_t stride, const float* dst,
                                         const float* diff_dst, float* masked, float* sums) {
  backward_loop<Activation::kSigmoid>(rows, columns, stride, dst, diff_dst, masked, sums);
}
LOCKSTEP_VECTORIZE void column_sums(int64_t rows, int64_t columns, int64_t stride, const float* diff_dst,
                                    float* sums) {
  for (int64_t r = 0; r < rows; ++r, diff_dst += stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) sums[c] += diff_dst[c];
  }
}

}  // namespace

void add_bias(int64_t rows, int64_t columns, const float* bias, bool relu, float* data) {
  if (!bias && !relu) return;
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t begin = 0; begin < columns; begin += kColumns) {
    const int64_t n = std::min(kColumns, columns - begin);
    const float* b = bias ? bias + begin : nullptr;
    if (relu) {
      add_bias_relu_block(rows, n, columns, b, data + begin);
    } else {
      add_bias_block(rows, n, columns, b, data + begin);
    }
  }
}

void backward_epilogue(int64_t rows, int64_t columns, Activation activation, const float* dst,
                       const float* diff_dst, float* masked, float* diff_bias) {
  if (activation == Activation::kNone && !diff_bias) return;
#pragma omp parallel for schedule(static) if (rows * columns >= kParallelElements)
  for (int64_t begin = 0; begin < columns; begin += kColumns) {
    const int64_t n = std::min(kColumns, columns - begin);
    alignas(64) float sums[kColumns] = {};
    const auto run = [&](auto& loop) {
      loop(rows, n, columns, dst + begin, diff_dst + begin, masked + begin, sums);
    };
    switch (activation) {
      case Activation::kRelu: run(backward_relu); break;
      case Activation::kTanh: run(backward_tanh); break;
      case Activation::kSigmoid: run(backward_sigmoid); break;
      case Activation::kNone: column_sums(rows, n, columns, diff_dst + begin, sums); break;
    }
    if (diff_bias) std::copy_n(sums, n, diff_bias + begin);
  }
}

}  // namespace lockstep::cpu
