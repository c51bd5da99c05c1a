// Max and average pooling over windows of an image.
#pragma once

#include <array>
#include <memory>

#include "kernels/op.h"

namespace lockstep {

enum class Pooling : uint8_t { kMax, kAverage };

struct Pool2dDesc {
  TensorDesc src;  // (N, C, H, W)
  Pooling pooling = Pooling::kMax;
  std::array<int64_t, 2> kernel{2, 2};
  std::array<int64_t, 2> stride{2, 2};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right
  bool count_padding = false;                  // average: divide by kh*kw also at the border
};

/// dst (N, C, P, Q), extents as conv_output_extent. Max: the gradient goes to the first
/// maximum of a window in row-major order; windows may overlap.
std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc);

}  // namespace lockstep
