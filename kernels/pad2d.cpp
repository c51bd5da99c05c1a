// Checks and the switch to a backend; see pad2d.h.
#include "kernels/pad2d.h"

#include <limits>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

const char* name_of(PaddingMode mode) {
  switch (mode) {
    case PaddingMode::kZeros: return "zeros";
    case PaddingMode::kReflect: return "reflect";
    case PaddingMode::kReplicate: return "replicate";
    case PaddingMode::kCircular: return "circular";
  }
  return "";
}

int64_t largest_padding(PaddingMode mode, int64_t extent) {
  if (mode == PaddingMode::kReflect) return extent - 1;
  if (mode == PaddingMode::kCircular) return extent;
  return std::numeric_limits<int64_t>::max();
}

std::unique_ptr<Op> make_pad2d(const OpConfig& config, const Pad2dDesc& desc) {
  const Shape& src = desc.src.shape;
  if (src.rank() != 4)
    throw Error("pad2d", "src has shape " + src.str() + ", expected (N, C, H, W)",
                "pad images before they are flattened");
  if (desc.mode == PaddingMode::kZeros)
    throw Error("pad2d", "zeros are no pixels of the image", "give the padding to the convolution");
  check_activation_type("pad2d", config, desc.src.dtype);
  for (int side = 0; side < 4; ++side) {
    const int64_t padding = desc.padding[static_cast<size_t>(side)];
    const int64_t most = largest_padding(desc.mode, src[2 + side / 2]);
    if (padding < 0 || padding > most)
      throw Error("pad2d",
                  "padding " + std::to_string(padding) + ", but " + name_of(desc.mode) +
                      " can add from 0 to " + std::to_string(most) + " to src " + src.str(),
                  "use less padding, larger images or the mode replicate");
  }
  return config.device.kind == Device::Kind::kCuda ? cuda::make_pad2d(config, desc)
                                                   : cpu::make_pad2d(config, desc);
}

}  // namespace lockstep
