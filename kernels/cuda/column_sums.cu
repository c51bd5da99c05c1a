// See column_sums.h.
#include "kernels/cuda/column_sums.h"

#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/column_lanes.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

/// What is summed: the elements as they are …
template <typename T>
struct Plain {
  const T* src;
  template <int W>
  __device__ __forceinline__ void add(int64_t i, float (&sums)[W]) const {
    const Pack<T, W> x = load<W>(src + i);
#pragma unroll
    for (int k = 0; k < W; ++k) sums[k] += to_float(x.at[k]);
  }
};

/// … or diff_dst * f'(dst), which is also stored.
template <typename T, typename F>
struct Masked {
  F f;
  const T *dst, *diff_dst;
  T* masked;
  template <int W>
  __device__ __forceinline__ void add(int64_t i, float (&sums)[W]) const {
    const Pack<T, W> y = load<W>(dst + i), g = load<W>(diff_dst + i);
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float gradient = f.gradient(to_float(y.at[k]), to_float(g.at[k]));
      sums[k] += gradient;
      result.at[k] = from_float<T>(gradient);
    }
    store<W>(masked + i, result);
  }
};

/// to (chunks, columns)
template <int W, typename Elements>
__global__ void __launch_bounds__(kThreads)
    column_sums_kernel(ColumnLanes split, Elements elements, float* to) {
  __shared__ float shared[kThreads * W];
  const ColumnLane<W> lane(split, blockIdx.x);
  const bool inside = lane.column < split.columns;
  float sums[W] = {};
  if (inside) {
#pragma unroll 4
    for (int64_t row = lane.row; row < lane.end; row += lane.step)
      elements.template add<W>(row * split.columns + lane.column, sums);
  }
  add_row_groups<W>(split, sums, shared, inside, to + lane.chunk * split.columns + lane.column);
}

template <int W, typename Elements>
void sum_with(Stream& stream, int64_t rows, int64_t columns, const Elements& elements, float* dst,
              void* partials) {
  const ColumnLanes split = ColumnLanes::of(rows, columns, W);
  float* to = split.chunks > 1 ? static_cast<float*>(partials) : dst;
  launch(stream, split.blocks(), kThreads, column_sums_kernel<W, Elements>, split, elements, to);
  if (split.chunks == 1) return;
  ColumnLanes second = ColumnLanes::of(split.chunks, columns, 1);
  second.chunk_rows = second.rows;
  second.chunks = 1;
  launch(stream, second.blocks(), kThreads, column_sums_kernel<1, Plain<float>>, second, Plain<float>{to},
         dst);
}

/// Packs of kWidth where every row begins at a multiple of 16 bytes.
template <int kWidth, typename Elements, typename... Pointers>
void sum(Stream& stream, int64_t rows, int64_t columns, const Elements& elements, float* dst, void* partials,
         const Pointers*... pointers) {
  const bool aligned = columns % kWidth == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
  aligned ? sum_with<kWidth>(stream, rows, columns, elements, dst, partials)
          : sum_with<1>(stream, rows, columns, elements, dst, partials);
}

}  // namespace

int64_t column_sums_bytes(int64_t rows, int64_t columns) {
  int64_t chunks = 1;
  for (const int width : {1, kPack<float>, kPack<BFloat16>})
    if (columns % width == 0) chunks = std::max(chunks, ColumnLanes::of(rows, columns, width).chunks);
  return chunks * columns * int64_t{sizeof(float)};
}

void column_sums(Stream& stream, DType dtype, int64_t rows, int64_t columns, const void* src, float* dst,
                 void* partials) {
  with_element(dtype, [&]<typename T>() {
    sum<kPack<T>>(stream, rows, columns, Plain<T>{static_cast<const T*>(src)}, dst, partials, src);
  });
}

void masked_column_sums(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
                        const void* dst, const void* diff_dst, void* masked, float* sums, void* partials) {
  with_element(dtype, [&]<typename T>() {
    with_activation(activation, [&](auto f) {
      const Masked<T, decltype(f)> elements{f, static_cast<const T*>(dst), static_cast<const T*>(diff_dst),
                                            static_cast<T*>(masked)};
      sum<kPack<T>>(stream, rows, columns, elements, sums, partials, dst, diff_dst,
                    static_cast<const void*>(masked));
    });
  });
}

}  // namespace lockstep::cuda
