// Integers as vectors of 0 and 1.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct OneHotDesc {
  TensorDesc ids;       // (N, …) int32
  int64_t classes = 0;  // K
};

/// src = {ids (N, …) int32}, dst (N, …, K): 1 at the id, else 0. Ids outside of [0, K), which the loader
/// refuses, give rows of NaN. There is no gradient.
std::unique_ptr<Op> make_one_hot(const OpConfig& config, const OneHotDesc& desc);

}  // namespace lockstep
