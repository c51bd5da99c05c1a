// Flat vector kernels over arena ranges and gradients: one pass, bound by memory. Sums of squares go
// over fixed chunks, so that their bits depend on n alone.
#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/streaming.h"
#include "kernels/elementwise.h"

namespace lockstep::cuda {

namespace {

struct Add {
  const float *a, *b;
  float* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<float, W> x = load<W>(a + i), y = load<W>(b + i);
    Pack<float, W> sum;
#pragma unroll
    for (int k = 0; k < W; ++k) sum.at[k] = x.at[k] + y.at[k];
    store<W>(dst + i, sum);
  }
};

/// dst = partials[0] + (partials[1] + … + last)
struct AddChain {
  const float* partials[kMaxChain];
  int n_partials;
  const float* last;
  float* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> sum = load<W>(last + i);
    for (int p = n_partials - 1; p >= 0; --p) {
      const Pack<float, W> x = load<W>(partials[p] + i);
#pragma unroll
      for (int k = 0; k < W; ++k) sum.at[k] = x.at[k] + sum.at[k];
    }
    store<W>(dst + i, sum);
  }
};

struct Fill {
  float value;
  float* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> pack;
#pragma unroll
    for (int k = 0; k < W; ++k) pack.at[k] = value;
    store<W>(dst + i, pack);
  }
};

constexpr int kMaxGradients = 16;  // of one value, besides the first

/// dst = from the left, in float32, dst + others[0] + …
template <typename T>
struct SumGradients {
  const T* others[kMaxGradients];
  int n_others;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    float sum[W];
    const Pack<T, W> first = load<W>(dst + i);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] = to_float(first.at[k]);
    for (int o = 0; o < n_others; ++o) {
      const Pack<T, W> x = load<W>(others[o] + i);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] += to_float(x.at[k]);
    }
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) result.at[k] = from_float<T>(sum[k]);
    store<W>(dst + i, result);
  }
};

constexpr int64_t kChunk = 4096;

/// sums[b] = of the squares in chunks b, b + gridDim.x, …: each thread its elements in order, then the
/// threads as a tree.
__global__ void __launch_bounds__(kThreads) sum_of_squares_kernel(int64_t n, const float* src, double* sums) {
  double sum = 0;
  for (int64_t begin = blockIdx.x * kChunk; begin < n; begin += gridDim.x * kChunk) {
    const int64_t end = begin + kChunk < n ? begin + kChunk : n;
    for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
      const double x = src[i];
      sum += x * x;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) add_sums_kernel(int n, const double* sums, double* result) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *result = sum;
}

__global__ void norm_kernel(const double* sum, double scale, double* norm) { *norm = sqrt(*sum) * scale; }

/// values *= most / norm, where the norm is above that.
struct ClipNorm {
  const double* norm;
  double most;
  float* values;
  template <int W>
  __device__ void at(int64_t i) const {
    const double n = *norm;
    if (!(n > most) || !isfinite(n)) return;
    const auto factor = static_cast<float>(most / (n + 1e-6));
    Pack<float, W> x = load<W>(values + i);
#pragma unroll
    for (int k = 0; k < W; ++k) x.at[k] *= factor;
    store<W>(values + i, x);
  }
};

struct ClipValues {
  float most;
  float* values;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> x = load<W>(values + i);
#pragma unroll
    for (int k = 0; k < W; ++k) x.at[k] = x.at[k] > most ? most : x.at[k] < -most ? -most : x.at[k];
    store<W>(values + i, x);
  }
};

/// The sum of squares to the stream's result.
void submit_sum_of_squares(Stream& stream, int64_t n, const float* src) {
  const auto& cuda_stream = static_cast<CudaStream&>(stream);
  const int64_t n_blocks = std::min<int64_t>(CudaStream::kSums, blocks_for(n, kChunk));
  launch(stream, n_blocks, kThreads, sum_of_squares_kernel, n, src, cuda_stream.sums());
  launch(stream, 1, kThreads, add_sums_kernel, static_cast<int>(n_blocks), cuda_stream.sums(),
         cuda_stream.result());
}

}  // namespace

void add(Stream& stream, int64_t n, const float* a, const float* b, float* dst) {
  stream_over<4>(stream, n, Add{a, b, dst}, a, b, dst);
}

void add_chain(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
               float* dst) {
  AddChain chain{{}, static_cast<int>(partials.size()), last, dst};
  bool aligned = true;
  for (size_t p = 0; p < partials.size(); ++p) {
    chain.partials[p] = partials[p];
    aligned = aligned && reinterpret_cast<uintptr_t>(partials[p]) % 16 == 0;
  }
  stream_over<4>(stream, n, chain, last, dst, aligned ? last : last + 1);
}

void fill(Stream& stream, int64_t n, float value, float* dst) {
  stream_over<4>(stream, n, Fill{value, dst}, dst);
}

void sum_gradients(Stream& stream, DType dtype, int64_t n_elements, std::span<void* const> partials) {
  if (partials.size() > kMaxGradients + 1)
    throw Error("sum_gradients", "more than 17 layers read one value",
                "insert an `identity` layer for some of them");
  with_element(dtype, [&]<typename T>() {
    SumGradients<T> sum{{}, static_cast<int>(partials.size()) - 1, static_cast<T*>(partials[0])};
    for (int i = 0; i < sum.n_others; ++i) sum.others[i] = static_cast<const T*>(partials[i + 1]);
    stream_over<kPack<T>>(stream, n_elements, sum, sum.dst);
  });
}

double sum_of_squares(Stream& stream, int64_t n, const float* src) {
  submit_sum_of_squares(stream, n, src);
  stream.synchronize();
  return *static_cast<CudaStream&>(stream).result();
}

void clip_norm(Stream& stream, int64_t n, float* values, double scale, double most, double* norm) {
  submit_sum_of_squares(stream, n, values);
  launch(stream, 1, 1, norm_kernel, static_cast<CudaStream&>(stream).result(), scale, norm);
  stream_over<4>(stream, n, ClipNorm{norm, most, values}, values);
}

void clip_values(Stream& stream, int64_t n, float* values, float most) {
  stream_over<4>(stream, n, ClipValues{most, values}, values);
}

}  // namespace lockstep::cuda
