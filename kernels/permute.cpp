// Checks and the switch to a backend; see permute.h.
#include "kernels/permute.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_permute(const OpConfig& config, const TensorDesc& src,
                                 const std::vector<int>& axes) {
  bool valid = static_cast<int>(axes.size()) == src.shape.rank() && !axes.empty() && axes[0] == 0;
  std::vector<bool> seen(axes.size(), false);
  for (size_t i = 0; valid && i < axes.size(); ++i) {
    valid = axes[i] >= 0 && axes[i] < src.shape.rank() && !seen[static_cast<size_t>(axes[i])];
    if (valid) seen[static_cast<size_t>(axes[i])] = true;
  }
  if (!valid)
    throw Error("permute",
                "the axes are no order of those of " + src.shape.str() + " with the samples in front",
                "name every axis once");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_permute(config, src, axes)
                                                  : cuda::make_permute(config, src, axes);
}

std::vector<PermutedAxis> permuted_axes(const Shape& src, const std::vector<int>& axes) {
  std::vector<int64_t> stride(axes.size(), 1);
  for (int i = src.rank() - 2; i >= 0; --i)
    stride[static_cast<size_t>(i)] = stride[static_cast<size_t>(i) + 1] * src[i + 1];
  std::vector<PermutedAxis> dims;
  for (const int axis : axes) {
    const PermutedAxis dim{src[axis], stride[static_cast<size_t>(axis)], 0};
    if (dim.extent == 1) continue;
    if (!dims.empty() && dims.back().src_stride == dim.extent * dim.src_stride)
      dims.back() = {dims.back().extent * dim.extent, dim.src_stride, 0};
    else
      dims.push_back(dim);
  }
  if (dims.empty()) dims.push_back({1, 1, 0});
  int64_t next = 1;
  for (auto dim = dims.rbegin(); dim != dims.rend(); ++dim) {
    dim->dst_stride = next;
    next *= dim->extent;
  }
  return dims;
}

}  // namespace lockstep
