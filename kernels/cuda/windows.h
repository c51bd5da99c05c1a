// Which pixels a window reads, and which windows read a pixel.
#pragma once

#include "kernels/cuda/runtime.h"

namespace lockstep::cuda {

__device__ __forceinline__ bool is_inside(int place, unsigned extent) {
  return static_cast<unsigned>(place) < extent;
}

/// The place of dst whose tap at `offset` (tap * dilation - padding) reads `place` of src, or -1.
__device__ __forceinline__ int reader_of(int place, int offset, int stride, unsigned extent) {
  const int distance = place - offset;
  if (distance < 0 || distance % stride != 0) return -1;
  const int reader = distance / stride;
  return is_inside(reader, extent) ? reader : -1;
}

}  // namespace lockstep::cuda
