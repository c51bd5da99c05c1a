// Softmax over the last axis.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// src, dst (N, …, K) float32 or bfloat16: dst_j = exp(src_j - m) / sum_i exp(src_i - m), m the maximum
/// of the K values, so that (1, 1000, 2) gives (0, 1, 0). Backward uses dst only:
/// diff_src_j = dst_j (diff_dst_j - sum_i dst_i diff_dst_i).
std::unique_ptr<Op> make_softmax(const OpConfig& config, const TensorDesc& src);

}  // namespace lockstep
