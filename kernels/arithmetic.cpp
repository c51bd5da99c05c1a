// Checks and the switch to a backend; see arithmetic.h.
#include "kernels/arithmetic.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

Shape broadcast_shape(const Shape& a, const Shape& b) {
  const bool a_is_longer = a.rank() >= b.rank();
  Shape result = a_is_longer ? a : b;
  const Shape& other = a_is_longer ? b : a;
  for (int i = 1; i <= other.rank(); ++i) {
    int64_t& extent = result[result.rank() - i];
    const int64_t wanted = other[other.rank() - i];
    if (extent != wanted && extent != 1 && wanted != 1)
      throw Error("arithmetic", "shapes " + a.str() + " and " + b.str() + " do not broadcast",
                  "aligned at their last axes, extents must be equal or 1; reshape one of them");
    extent = std::max(extent, wanted);
  }
  return result;
}

std::vector<BroadcastAxis> broadcast_axes(const Shape& a, const Shape& b, const Shape& dst) {
  std::vector<BroadcastAxis> axes;
  int64_t a_stride = a.n_elements(), b_stride = b.n_elements();
  for (int i = 0; i < dst.rank(); ++i) {
    const int in_a = i - (dst.rank() - a.rank()), in_b = i - (dst.rank() - b.rank());
    const int64_t a_extent = in_a < 0 ? 1 : a[in_a], b_extent = in_b < 0 ? 1 : b[in_b];
    a_stride /= a_extent;
    b_stride /= b_extent;
    if (dst[i] == 1) continue;
    const BroadcastAxis axis{dst[i], a_extent == 1 ? 0 : a_stride, b_extent == 1 ? 0 : b_stride};
    if (!axes.empty() && axes.back().a_stride == axis.extent * axis.a_stride &&
        axes.back().b_stride == axis.extent * axis.b_stride)
      axes.back() = {axes.back().extent * axis.extent, axis.a_stride, axis.b_stride};
    else
      axes.push_back(axis);
  }
  return axes;
}

std::unique_ptr<Op> make_binary(const OpConfig& config, const BinaryDesc& desc) {
  check_activation_type("arithmetic", config, desc.a.dtype);
  check_activation_type("arithmetic", config, desc.b.dtype);
  if (desc.a.shape.rank() < 1 || desc.b.shape.rank() < 1 || desc.a.shape[0] != desc.b.shape[0])
    throw Error("arithmetic", desc.a.shape.str() + " and " + desc.b.shape.str() + " have other samples",
                "give both the same first dimension, which counts samples");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_binary(config, desc)
                                                  : cuda::make_binary(config, desc);
}

std::unique_ptr<Op> make_map(const OpConfig& config, const MapDesc& desc) {
  check_activation_type("arithmetic", config, desc.src.dtype);
  if (desc.src.shape.rank() < 1)
    throw Error("arithmetic", "src has no samples", "give src a first dimension that counts samples");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_map(config, desc)
                                                  : cuda::make_map(config, desc);
}

}  // namespace lockstep
