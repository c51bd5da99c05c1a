// Checks and the switch to a backend; see pool2d.h.
#include "kernels/pool2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

void check_axis(const Pool2dDesc& desc, int axis, int64_t extent) {
  const std::string name = axis == 0 ? "height" : desc.src.shape.rank() == 3 ? "length" : "width";
  const int64_t kernel = desc.kernel[axis], before = desc.padding[2 * axis],
                after = desc.padding[2 * axis + 1];
  if (kernel < 1 || desc.stride[axis] < 1)
    throw Error("pool2d",
                "kernel and stride must be at least 1, the " + name + " has kernel " +
                    std::to_string(kernel) + " and stride " + std::to_string(desc.stride[axis]),
                "set kernel 2 and stride 2, for instance");
  // A window that lies in the padding alone has no maximum and no average.
  if (before < 0 || after < 0 || before >= kernel || after >= kernel)
    throw Error("pool2d",
                "padding of the " + name + " is (" + std::to_string(before) + ", " + std::to_string(after) +
                    "), it must be smaller than the kernel " + std::to_string(kernel),
                "pad by 0 to " + std::to_string(std::max<int64_t>(kernel - 1, 0)) + " on each side");
  if (extent + before + after < kernel)
    throw Error("pool2d",
                "the kernel's " + name + " " + std::to_string(kernel) + " is larger than the padded " + name +
                    " of src " + desc.src.shape.str(),
                "use a smaller kernel, more padding or larger images");
}

void check_weights(const Pool2dDesc& desc, bool is_image) {
  const int64_t n = (is_image ? desc.kernel[0] : 1) * desc.kernel[1];
  if (static_cast<int64_t>(desc.weights.size()) != n)
    throw Error("pool2d",
                "a window of " + std::to_string(n) + " elements needs as many weights, got " +
                    std::to_string(desc.weights.size()),
                "give one weight for each element of the window, row by row");
  const bool positive = std::all_of(desc.weights.begin(), desc.weights.end(), [](float w) { return w > 0; });
  if (desc.normalize && !positive)
    throw Error("pool2d", "a weighted average needs weights above 0",
                "set `normalize: false` to take the weighted sum");
}

}  // namespace

int64_t pool_output_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t pad_before,
                           int64_t pad_after, bool ceil) {
  const int64_t room = extent + pad_before + pad_after - kernel;
  const int64_t n_windows = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  return ceil && (n_windows - 1) * stride >= extent + pad_before ? n_windows - 1 : n_windows;
}

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  const Shape& src = desc.src.shape;
  const bool is_image = src.rank() == 4;
  if (!is_image && src.rank() != 3)
    throw Error("pool2d", "src has shape " + src.str() + ", expected (N, C, H, W) or (N, C, T)",
                "pool images before they are flattened");
  check_activation_type("pool2d", config, desc.src.dtype);
  if (desc.adaptive[1] != 0) {
    if (desc.pooling != Pooling::kAverage || desc.adaptive[1] < 1 || (is_image && desc.adaptive[0] < 1))
      throw Error("pool2d", "windows that cover the image need extents of at least 1, and an average",
                  "ask for an average and for extents such as {1, 1}");
  } else {
    if (is_image) check_axis(desc, 0, src[2]);
    check_axis(desc, 1, src[src.rank() - 1]);
    if (desc.pooling == Pooling::kWeighted) check_weights(desc, is_image);
  }
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_pool2d(config, desc);
  return cpu::make_pool2d(config, desc);
}

}  // namespace lockstep
