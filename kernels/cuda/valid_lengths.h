// How many of a row's steps are valid, by the rules of steps.h.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/op.h"

namespace lockstep::cuda {

/// lengths (N) int32, or null: all rows are `steps` long.
__device__ __forceinline__ int64_t valid_length(const BatchContext* batch, const int32_t* lengths,
                                                int64_t steps, int64_t row) {
  if (row >= batch->n_valid) return 0;
  if (lengths == nullptr) return steps;
  const int64_t length = lengths[row];
  return length < 0 ? 0 : length < steps ? length : steps;
}

}  // namespace lockstep::cuda
