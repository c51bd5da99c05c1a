// How many of a row's steps are valid, by the rules of steps.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/op.h"

namespace lockstep::cpu {

/// lengths (N) int32, or null: all rows are `steps` long.
inline int64_t valid_length(const BatchContext& batch, const int32_t* lengths, int64_t steps, int64_t row) {
  if (row >= batch.n_valid) return 0;
  return lengths ? std::clamp<int64_t>(lengths[row], 0, steps) : steps;
}

}  // namespace lockstep::cpu
