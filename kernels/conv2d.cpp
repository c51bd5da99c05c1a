// Checks and the switch to a backend.
#include "kernels/conv2d.h"

#include <algorithm>
#include <string>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

int64_t conv_output_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation,
                           int64_t pad_before, int64_t pad_after) {
  const int64_t room = extent + pad_before + pad_after - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

std::unique_ptr<Op> make_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  const auto refuse = [](const std::string& what, const std::string& remedy) {
    throw Error("conv2d", what, remedy);
  };
  check_activation_type("conv2d", config, config.compute);
  if (desc.src.shape.rank() != 4)
    refuse("src must be (N, C, H, W), not " + desc.src.shape.str(),
           "use it on images, before they are flattened");
  const int64_t channels = desc.src.shape[1];
  if (desc.out_channels < 1)
    refuse("out_channels must be at least 1, found " + std::to_string(desc.out_channels),
           "give the number of channels of dst, for instance 16");
  if (desc.groups < 1 || channels % desc.groups != 0 || desc.out_channels % desc.groups != 0) {
    refuse("groups " + std::to_string(desc.groups) + " must divide the channels in (" +
               std::to_string(channels) + ") and out (" + std::to_string(desc.out_channels) + ")",
           "choose groups that divide both");
  }
  for (int i = 0; i < 2; ++i) {
    if (desc.kernel[i] < 1 || desc.stride[i] < 1 || desc.dilation[i] < 1) {
      refuse("kernel, stride and dilation must be at least 1",
             "set kernel 3, stride 1 and dilation 1, for instance");
    }
    if (std::min(desc.padding[2 * i], desc.padding[2 * i + 1]) < 0)
      refuse("padding must not be negative", "give 0 or more on each side");
    const int64_t extent = desc.src.shape[2 + i];
    if (conv_output_extent(extent, desc.kernel[i], desc.stride[i], desc.dilation[i], desc.padding[2 * i],
                           desc.padding[2 * i + 1]) < 1) {
      refuse("the kernel does not fit into src " + desc.src.shape.str() + " with its padding",
             "use a smaller kernel or dilation, or more padding");
    }
  }
  return config.device.kind == Device::Kind::kCpu ? cpu::make_conv2d(config, desc)
                                                  : cuda::make_conv2d(config, desc);
}

}  // namespace lockstep
