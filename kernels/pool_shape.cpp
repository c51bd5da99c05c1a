// See pool_shape.h.
#include "kernels/pool_shape.h"

#include <numeric>

namespace lockstep {

namespace {

/// Windows of equal size where they cover the image evenly, else each of its own.
void set_adaptive(PoolShape& s, const std::array<int64_t, 2>& extents) {
  s.rows = extents[0];
  s.columns = extents[1];
  s.adaptive = s.height % s.rows != 0 || s.width % s.columns != 0;
  s.kernel_h = s.stride_h = (s.height + s.rows - 1) / s.rows;
  s.kernel_w = s.stride_w = (s.width + s.columns - 1) / s.columns;
}

}  // namespace

PoolShape pool_shape(const Pool2dDesc& desc) {
  const Shape& src = desc.src.shape;
  const bool is_image = src.rank() == 4;
  PoolShape s{};
  s.height = is_image ? src[2] : 1;
  s.width = src[src.rank() - 1];
  if (desc.adaptive[1] != 0) {
    set_adaptive(s, {is_image ? desc.adaptive[0] : 1, desc.adaptive[1]});
    return s;
  }
  s.kernel_h = is_image ? desc.kernel[0] : 1;
  s.stride_h = is_image ? desc.stride[0] : 1;
  s.top = is_image ? desc.padding[0] : 0;
  s.bottom = is_image ? desc.padding[1] : 0;
  s.kernel_w = desc.kernel[1];
  s.stride_w = desc.stride[1];
  s.left = desc.padding[2];
  s.right = desc.padding[3];
  s.rows = pool_output_extent(s.height, s.kernel_h, s.stride_h, s.top, s.bottom, desc.ceil);
  s.columns = pool_output_extent(s.width, s.kernel_w, s.stride_w, s.left, s.right, desc.ceil);
  s.count_padding = desc.count_padding;
  if (desc.pooling == Pooling::kWeighted) {
    s.normalize = desc.normalize;
    s.weight_sum = std::accumulate(desc.weights.begin(), desc.weights.end(), 0.0f);
  }
  return s;
}

Shape pooled_shape(const Pool2dDesc& desc, const PoolShape& shape) {
  Shape pooled = desc.src.shape;
  if (pooled.rank() == 4) pooled[2] = shape.rows;
  pooled[pooled.rank() - 1] = shape.columns;
  return pooled;
}

}  // namespace lockstep
