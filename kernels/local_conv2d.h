// Locally connected layer: a convolution whose weights are not shared between the places of dst.
#pragma once

#include <array>
#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct LocalConv2dDesc {
  TensorDesc src;                       // (N, C, H, W)
  int64_t out_channels = 0;             // K
  std::array<int64_t, 2> kernel{1, 1};  // (kh, kw)
  std::array<int64_t, 2> stride{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right; zeros
  bool has_bias = true;
};

/// dst (N, K, P, Q), extents as conv_output_extent: at place (p, q) the window of src there times
/// weights[p * Q + q], plus bias[:, p, q].
/// params = {weights (P * Q, K, C * kh * kw), bias (K, P, Q) if has_bias}; diff_params likewise.
std::unique_ptr<Op> make_local_conv2d(const OpConfig& config, const LocalConv2dDesc& desc);

}  // namespace lockstep
