// Checks and the switch to a backend; see pool2d.h.
#include "kernels/pool2d.h"

#include "kernels/backend.h"
#include "kernels/conv2d.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  const Shape& src = desc.src.shape;
  if (src.rank() != 4)
    throw Error("pool2d", "src has shape " + src.str() + ", expected (N, C, H, W)",
                "pool images before they are flattened");
  for (int axis = 0; axis < 2; ++axis) {
    const char* name = axis == 0 ? "height" : "width";
    const int64_t kernel = desc.kernel[axis], before = desc.padding[2 * axis],
                  after = desc.padding[2 * axis + 1];
    if (kernel < 1 || desc.stride[axis] < 1)
      throw Error("pool2d", std::string("kernel and stride must be at least 1, the ") + name +
                                " has kernel " + std::to_string(kernel) + " and stride " +
                                std::to_string(desc.stride[axis]));
    // A window that lies in the padding alone has no maximum and no average.
    if (before < 0 || after < 0 || before >= kernel || after >= kernel)
      throw Error("pool2d", std::string("padding of the ") + name + " is (" + std::to_string(before) + ", " +
                                std::to_string(after) + "), it must be smaller than the kernel " +
                                std::to_string(kernel));
    if (src[2 + axis] + before + after < kernel)
      throw Error("pool2d",
                  std::string("the kernel's ") + name + " " + std::to_string(kernel) +
                      " is larger than the padded " + name + " of src " + src.str(),
                  "use a smaller kernel, more padding or larger images");
  }
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_pool2d(config, desc);
  return cpu::make_pool2d(config, desc);
}

}  // namespace lockstep
