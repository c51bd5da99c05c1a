// Rows of padding: an op whose function has no value there writes zeros.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/op.h"

namespace lockstep::cuda {

/// Elements of the rows that count, of n_samples of `row` elements; without a batch all of them.
__device__ __forceinline__ int64_t valid_elements(const BatchContext* batch, int64_t n_samples, int64_t row) {
  return (batch ? batch->n_valid : n_samples) * row;
}

}  // namespace lockstep::cuda
