// Checks and the switch to a backend; see local_conv2d.h.
#include "kernels/local_conv2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/conv2d.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_local_conv2d(const OpConfig& config, const LocalConv2dDesc& desc) {
  check_activation_type("local_conv2d", config, config.compute);
  const Shape& src = desc.src.shape;
  if (src.rank() != 4)
    throw Error("local_conv2d", "src must be (N, C, H, W), not " + src.str(),
                "use it on images, before they are flattened");
  if (desc.out_channels < 1)
    throw Error("local_conv2d", "out_channels must be at least 1, found " + std::to_string(desc.out_channels),
                "give the number of channels of dst, for instance 16");
  for (int i = 0; i < 2; ++i) {
    if (desc.kernel[i] < 1 || desc.stride[i] < 1)
      throw Error("local_conv2d", "kernel and stride must be at least 1",
                  "set kernel 3 and stride 1, for instance");
    if (std::min(desc.padding[2 * i], desc.padding[2 * i + 1]) < 0)
      throw Error("local_conv2d", "padding must not be negative", "give 0 or more on each side");
    if (conv_output_extent(src[2 + i], desc.kernel[i], desc.stride[i], 1, desc.padding[2 * i],
                           desc.padding[2 * i + 1]) < 1)
      throw Error("local_conv2d", "the kernel does not fit into src " + src.str() + " with its padding",
                  "use a smaller kernel or more padding");
  }
  return config.device.kind == Device::Kind::kCpu ? cpu::make_local_conv2d(config, desc)
                                                  : cuda::make_local_conv2d(config, desc);
}

}  // namespace lockstep
