// Two-dimensional convolution (cross-correlation, as everywhere in the field).
#pragma once

#include <array>
#include <memory>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep {

struct Conv2dDesc {
  TensorDesc src;                       // (N, C, H, W)
  int64_t out_channels = 0;             // K
  std::array<int64_t, 2> kernel{1, 1};  // (kh, kw)
  std::array<int64_t, 2> stride{1, 1};
  std::array<int64_t, 2> dilation{1, 1};       // 1: dense kernel
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right; zeros
  int64_t groups = 1;
  bool has_bias = true;
  Activation activation = Activation::kNone;  // fused
  bool wants_diff_src = true;                 // false for the first layer
};

/// Output extent: floor((extent + pad_before + pad_after - dilation * (kernel - 1) - 1) / stride) + 1.
int64_t conv_output_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation,
                           int64_t pad_before, int64_t pad_after);

/// dst (N, K, P, Q) = f(conv(src, weights) + bias).
/// params = {weights (K, C/groups, kh, kw), bias (K) if has_bias}; diff_params likewise.
std::unique_ptr<Op> make_conv2d(const OpConfig& config, const Conv2dDesc& desc);

}  // namespace lockstep
