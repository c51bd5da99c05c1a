// Sums and maxima over the threads of a warp or block, in one fixed order: a butterfly over the lanes,
// then over the warps. Every thread gets the result; the bits do not depend on timing.
#pragma once

#include "kernels/cuda/runtime.h"

namespace lockstep::cuda {

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
  template <typename T>
  __device__ __forceinline__ static T none() {
    return T(0);
  }
};

/// NaN counts as the largest.
struct Maximum {
  __device__ __forceinline__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
  template <typename T>
  __device__ __forceinline__ static T none() {
    return T(-__builtin_huge_valf());
  }
};

/// Combines one value per lane; all 32 lanes of the warp take part.
template <typename Combine, typename T>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2)
    value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, distance));
  return value;
}

/// Combines one value per thread of the block; all threads take part. blockDim.x is a multiple of 32.
template <typename Combine, typename T>
__device__ __forceinline__ T block_reduce(T value, Combine combine) {
  __shared__ T of_warp[kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  value = warp_reduce(value, combine);
  __syncthreads();  // who reads of_warp from the call before is done
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  return warp_reduce(lane < n_warps ? of_warp[lane] : Combine::template none<T>(), combine);
}

template <typename T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce(value, Sum{});
}

}  // namespace lockstep::cuda
