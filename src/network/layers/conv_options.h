// Options that the convolution layers read alike.
#pragma once

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

/// channels, kernel, stride, dilation, padding, groups, bias of images; padding may also be a word:
/// valid (none), same (dst as large as src), full (every tap meets every pixel).
Conv2dOptions read_conv2d_options(Config& options);
/// The same over time, where all are single numbers and padding may be [left, right].
Conv2dOptions read_conv1d_options(Config& options);

/// padding_mode: zeros, reflect, replicate or circular.
PaddingMode read_padding_mode(Config& options);
/// Throws Error if a layer that pads with zeros only is asked for another padding.
void require_zeros(const Conv2dOptions& options, const char* layer);

/// Throws Error if `src` is no image or groups do not divide the channels.
void check_image_and_groups(const Shape& src, int64_t out_channels, int64_t groups);

/// A convolution's attributes in ONNX, of its last `n_axes` axes; without `pads` padding is done before it.
std::vector<OnnxAttribute> conv_in_onnx(const Conv2dOptions& options, int n_axes, bool pads);
/// Its input with the padding that is not of zeros; else the input itself.
std::string padded_in_onnx(const Conv2dOptions& options, OnnxVertex& vertex);

}  // namespace lockstep
