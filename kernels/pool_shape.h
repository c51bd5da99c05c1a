// The extents and windows of a pooling as its kernels see them: planes (H, W, inner) of one form, with
// sequences as images of one row and adaptive windows of equal size as plain ones.
#pragma once

#include <cstdint>

#include "kernels/pool2d.h"

namespace lockstep {

struct PoolShape {
  int64_t planes, inner;  // src (planes, H, W, inner), dst (planes, P, Q, inner)
  int64_t height, width;  // H, W
  int64_t rows, columns;  // P, Q
  int64_t kernel_h, kernel_w, stride_h, stride_w, top, bottom, left, right;
  bool count_padding;    // average: padding counts in the divisor
  bool adaptive;         // window p: rows [floor(p H / P), ceil((p + 1) H / P)), and columns likewise
  const float* weights;  // weighted sums: (kernel_h, kernel_w); null: an average
  float weight_sum;      // of all of them
  bool normalize;        // weighted: divide by the sum of the weights that count

  int64_t src_plane() const { return height * width * inner; }
  int64_t dst_plane() const { return rows * columns * inner; }
};

/// All but planes, inner and weights, which depend on layout and device.
PoolShape pool_shape(const Pool2dDesc& desc);

/// The shape of dst.
Shape pooled_shape(const Pool2dDesc& desc, const PoolShape& shape);

}  // namespace lockstep
