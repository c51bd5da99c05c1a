// Two-dimensional transposed convolution: the gradient of a convolution with respect to its
// source, as a layer of its own (Zeiler et al. 2010; PyTorch's ConvTranspose2d).
#pragma once

#include <array>
#include <memory>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep {

struct ConvTranspose2dDesc {
  TensorDesc src;                       // (N, C, H, W)
  int64_t out_channels = 0;             // K
  std::array<int64_t, 2> kernel{1, 1};  // (kh, kw)
  std::array<int64_t, 2> stride{1, 1};  // pixels of dst from one pixel of src to the next
  std::array<int64_t, 2> dilation{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};   // top, bottom, left, right: cut off dst
  std::array<int64_t, 2> output_padding{0, 0};  // rows and columns added to dst; below the stride
  int64_t groups = 1;
  bool has_bias = true;
  Activation activation = Activation::kNone;  // fused
  bool wants_diff_src = true;                 // false for the first layer
};

/// Output extent: (extent - 1) * stride + dilation * (kernel - 1) + 1 + output_padding - pad_before -
/// pad_after.
int64_t conv_transpose_output_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation,
                                     int64_t pad_before, int64_t pad_after, int64_t output_padding);

/// dst (N, K, P, Q) = f(sum over taps of src(y, x) weights(i, j) at (y * stride + i * dilation -
/// top, …) + bias). params = {weights (C, K/groups, kh, kw), bias (K) if has_bias}; diff_params likewise.
std::unique_ptr<Op> make_conv_transpose2d(const OpConfig& config, const ConvTranspose2dDesc& desc);

}  // namespace lockstep
