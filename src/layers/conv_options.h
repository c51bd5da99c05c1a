// Options that the convolution layers read alike.
#pragma once

#include "src/layers/layers.h"

namespace lockstep {

/// channels, kernel, stride, dilation, padding, groups, bias of images; padding may also be a word:
/// valid (none), same (dst as large as src), full (every tap meets every pixel).
Conv2dOptions read_conv2d_options(Config& options);
/// The same over time, where all are single numbers and padding may be [left, right].
Conv2dOptions read_conv1d_options(Config& options);

/// Throws Error if `src` is no image or groups do not divide the channels.
void check_image_and_groups(const Shape& src, int64_t out_channels, int64_t groups);

}  // namespace lockstep
