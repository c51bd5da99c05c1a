// Another order of the axes of a tensor, such as (N, C, T) -> (N, T, C).
#pragma once

#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

/// dst, dense: axis i of dst is axis axes[i] of src, as numpy.transpose. axes[0] is 0: samples stay in front.
std::unique_ptr<Op> make_permute(const OpConfig& config, const TensorDesc& src, const std::vector<int>& axes);

/// An axis of dst as it lies in both; strides in elements.
struct PermutedAxis {
  int64_t extent, src_stride, dst_stride;
};
/// The axes in the order of dst, at least one; neighbours that stay neighbours are one axis.
std::vector<PermutedAxis> permuted_axes(const Shape& src, const std::vector<int>& axes);

}  // namespace lockstep
