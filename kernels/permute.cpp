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

}  // namespace lockstep
