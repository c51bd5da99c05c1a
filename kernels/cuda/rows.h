// Rows of a dense matrix (n, k), each combined by a group of threads: a warp where rows are short, else
// the whole block. The order of every sum depends on k alone.
#pragma once

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

constexpr int64_t kRowOfWarp = 1024;  // elements up to which a warp takes a row

/// Combines one value per thread of the group that calls; all of its threads take part.
template <int kGroup, typename Combine, typename T>
__device__ __forceinline__ T group_reduce(T value, Combine combine) {
  static_assert(kGroup == 1 || kGroup == kWarp || kGroup == kThreads);
  if constexpr (kGroup == 1) {
    return value;
  } else if constexpr (kGroup == kWarp) {
    return warp_reduce(value, combine);
  } else {
    return block_reduce(value, combine);
  }
}

/// This thread's group among those of a launch with kThreads threads per block, and its place in it.
template <int kGroup>
struct GroupPlace {
  int lane = static_cast<int>(threadIdx.x) % kGroup;
  int64_t group = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
  int64_t n_groups = static_cast<int64_t>(gridDim.x) * (kThreads / kGroup);
};

/// f(j, x_j) for the elements of a row of k that fall to this lane, W a divisor of k.
template <int kGroup, int W, typename T, typename F>
__device__ __forceinline__ void for_row(int64_t k, int lane, const T* row, const F& f) {
  for (int64_t j = static_cast<int64_t>(lane) * W; j < k; j += kGroup * W) {
    const Pack<T, W> x = load<W>(row + j);
#pragma unroll
    for (int i = 0; i < W; ++i) f(j + i, to_float(x.at[i]));
  }
}

/// body.operator()<kGroup, W>(): threads for a row of k elements, and how many one load takes.
template <typename T, typename Body>
void with_group(int64_t k, const Body& body) {
  constexpr int kWide = kPack<T>;
  const bool wide = k % kWide == 0;
  if (k <= kRowOfWarp)
    return wide ? body.template operator()<kWarp, kWide>() : body.template operator()<kWarp, 1>();
  return wide ? body.template operator()<kThreads, kWide>() : body.template operator()<kThreads, 1>();
}

}  // namespace lockstep::cuda
