// CUDA's qualifiers, built-in variables, barriers and warp operations as plain C++. The default
// arguments tell the executor where in the source a thread waits.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_on_host/executor.h>
#include <cuda_on_host/vectors.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

// One block runs at a time: its shared memory is static. `noinit` puts each variable into a section called
// .noinit*, where the executor finds it and fills it with NaN before each block. (A section attribute would
// be forgotten in templates.) AddressSanitizer leaves variables with a section alone: with it, shared memory
// has red zones instead of NaN.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static __attribute__((noinit))
#endif

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_on_host {

/// Lane arithmetic of the shuffles: `width` cuts the warp into segments.
inline int segment_of(int width) { return lane() & ~(width - 1); }

template <typename T>
T shuffle(unsigned mask, T value, int source, const Place& place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "shuffles move up to 8 bytes");
  static_assert(sizeof(T) >= 4 || !std::is_integral_v<T>, "CUDA shuffles no small integers");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(place, mask, bits, source);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_on_host

inline void __syncthreads(const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  cuda_on_host::block_barrier(place);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu,
                       const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  cuda_on_host::vote(place, mask, false);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  return cuda_on_host::vote(place, mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate,
                      const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  return cuda_on_host::vote(place, mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  return cuda_on_host::vote(place, mask, predicate != 0) == mask;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  return cuda_on_host::shuffle(mask, value, cuda_on_host::segment_of(width) | (source & (width - 1)), place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize,
                  const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  const int lane = cuda_on_host::lane(), source = lane ^ lane_mask;
  const bool inside = source < cuda_on_host::segment_of(width) + width;
  return cuda_on_host::shuffle(mask, value, inside ? source : lane, place);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  const int lane = cuda_on_host::lane(), source = lane + static_cast<int>(delta);
  const bool inside = source < cuda_on_host::segment_of(width) + width;
  return cuda_on_host::shuffle(mask, value, inside ? source : lane, place);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 const cuda_on_host::Place& place = cuda_on_host::Place::current()) {
  const int lane = cuda_on_host::lane(), source = lane - static_cast<int>(delta);
  const bool inside = source >= cuda_on_host::segment_of(width);
  return cuda_on_host::shuffle(mask, value, inside ? source : lane, place);
}
