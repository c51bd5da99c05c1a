// See epilogue.h.
#include "kernels/cuda/epilogue.h"

#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/unary_op.h"

namespace lockstep::cuda {

namespace {

template <typename T, typename F>
struct BiasActivation {
  F f;
  const float* bias;
  T* data;
  int64_t columns;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<T, W> x = load<W>(data + i);
    int64_t column = bias ? i % columns : 0;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      x.at[k] = from_float<T>(f.value(to_float(x.at[k]) + (bias ? bias[column] : 0.0f)));
      if (++column == columns) column = 0;
    }
    store<W>(data + i, x);
  }
};

}  // namespace

void add_bias(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
              const float* bias, void* data) {
  if (activation == Activation::kNone && !bias) return;
  with_element(dtype, [&]<typename T>() {
    with_activation(activation, [&](auto f) {
      T* elements = static_cast<T*>(data);
      stream_over<kPack<T>>(stream, rows * columns,
                            BiasActivation<T, decltype(f)>{f, bias, elements, columns}, elements);
    });
  });
}

int64_t backward_epilogue_bytes(bool has_bias, int64_t rows, int64_t columns) {
  return has_bias ? column_sums_bytes(rows, columns) : 0;
}

void backward_epilogue(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
                       const void* dst, const void* diff_dst, void* masked, float* diff_bias,
                       void* partials) {
  const bool masks = activation != Activation::kNone;
  if (masks && diff_bias) {
    masked_column_sums(stream, dtype, activation, rows, columns, dst, diff_dst, masked, diff_bias, partials);
  } else if (diff_bias) {
    column_sums(stream, dtype, rows, columns, diff_dst, diff_bias, partials);
  } else if (masks) {
    with_activation(activation,
                    [&](auto f) { unary_gradient(stream, dtype, rows * columns, f, dst, diff_dst, masked); });
  }
}

}  // namespace lockstep::cuda
