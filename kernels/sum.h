// Sum of values of equal shape, closing with an activation: where the branches of a residual
// network meet.
#pragma once

#include <memory>
#include <vector>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep {

constexpr size_t kMaxSummands = 8;

struct SumDesc {
  std::vector<TensorDesc> src;  // 2 to 8 of one shape, float32 or bfloat16, any layouts
  Activation activation = Activation::kNone;
};

/// Whether make_sum closes with this activation: those that limit a value from below or above.
bool sum_fuses(Activation activation);

/// dst = f(src[0] + src[1] + …), added from the left in float32. All take the layout of the first
/// source that has one. Backward: every diff_src = diff_dst, or 0 where dst is at a limit of f.
std::unique_ptr<Op> make_sum(const OpConfig& config, const SumDesc& desc);

}  // namespace lockstep
