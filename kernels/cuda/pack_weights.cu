// See pack_weights.h. One thread per element of the result; what is read lies close enough for the cache.
#include "kernels/cuda/pack_weights.h"

#include "kernels/cuda/element.h"

namespace lockstep::cuda {

namespace {

/// dst (outer, inner, middle) = src (outer, middle, inner)
template <typename From, typename To>
__global__ void __launch_bounds__(kThreads)
    swap_kernel(int64_t n, int64_t middle, int64_t inner, const From* src, To* dst) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const int64_t row = i / middle;
  dst[i] = from_float<To>(to_float(src[(row / inner * middle + i % middle) * inner + row % inner]));
}

template <typename From, typename To>
void swap(Stream& stream, int64_t outer, int64_t middle, int64_t inner, const void* src, void* dst) {
  const int64_t n = outer * middle * inner;
  launch(stream, blocks_for(n), kThreads, swap_kernel<From, To>, n, middle, inner,
         static_cast<const From*>(src), static_cast<To*>(dst));
}

}  // namespace

void pack_weights(Stream& stream, DType dtype, int64_t outer, int64_t channels, int64_t taps,
                  const float* weights, void* packed) {
  with_element(dtype, [&]<typename T>() { swap<float, T>(stream, outer, channels, taps, weights, packed); });
}

void unpack_weights(Stream& stream, DType dtype, int64_t outer, int64_t channels, int64_t taps,
                    const void* packed, float* weights) {
  with_element(dtype, [&]<typename T>() { swap<T, float>(stream, outer, taps, channels, packed, weights); });
}

}  // namespace lockstep::cuda
