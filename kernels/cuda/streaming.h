// Element-wise kernels: each thread takes one pack of 16 bytes, the last threads single elements. A
// function object says what happens at W neighbours; its arrays lie side by side in memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/element.h"

namespace lockstep::cuda {

template <int W, typename T>
__device__ __forceinline__ Pack<T, W> load(const T* from) {
  return *reinterpret_cast<const Pack<T, W>*>(from);
}
template <int W, typename T>
__device__ __forceinline__ void store(T* to, const Pack<T, W>& pack) {
  *reinterpret_cast<Pack<T, W>*>(to) = pack;
}

template <int W, typename F>
__global__ void __launch_bounds__(kThreads) stream_kernel(int64_t n, F f) {
  const int64_t i = global_thread() * W;
  if (i + W <= n) {
    f.template at<W>(i);
  } else {
    for (int64_t k = i; k < n; ++k) f.template at<1>(k);
  }
}

/// f.at<W>(i) once for every i in [0, n), W a power of two up to kWidth. `pointers`: the arrays that f
/// reads or writes; where one is not aligned to 16 bytes, W is 1.
template <int kWidth, typename F, typename... Pointers>
void stream_over(Stream& stream, int64_t n, const F& f, const Pointers*... pointers) {
  const bool aligned = ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
  if (aligned) {
    launch(stream, blocks_for(n, kThreads * kWidth), kThreads, stream_kernel<kWidth, F>, n, f);
  } else {
    launch(stream, blocks_for(n), kThreads, stream_kernel<1, F>, n, f);
  }
}

/// The same where a pack must not reach from one group of `group` neighbours, such as the channels of a
/// pixel, into the next: W is 1 unless a group is whole packs.
template <int kWidth, typename F, typename... Pointers>
void stream_groups(Stream& stream, int64_t n, int64_t group, const F& f, const Pointers*... pointers) {
  if (group % kWidth == 0)
    stream_over<kWidth>(stream, n, f, pointers...);
  else
    stream_over<1>(stream, n, f, pointers...);
}

}  // namespace lockstep::cuda
