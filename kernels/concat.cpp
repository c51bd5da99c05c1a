// Checks and the switch to a backend; see concat.h.
#include "kernels/concat.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_concat(const OpConfig& config, const ConcatDesc& desc) {
  if (desc.src.empty())
    throw Error("concat", "needs at least one source", "list in src what is to be joined");
  const Shape& first = desc.src[0].shape;
  if (desc.axis < 1 || desc.axis >= first.rank())
    throw Error("concat", "axis " + std::to_string(desc.axis) + " of " + first.str() + " cannot be joined",
                "choose an axis behind the samples");
  for (const TensorDesc& src : desc.src) {
    bool fits = src.shape.rank() == first.rank() && src.dtype == desc.src[0].dtype;
    for (int i = 0; fits && i < first.rank(); ++i) fits = i == desc.axis || src.shape[i] == first[i];
    if (!fits)
      throw Error(
          "concat",
          src.shape.str() + " does not continue " + first.str() + " along axis " + std::to_string(desc.axis),
          "types and all extents but that of the axis must be equal");
  }
  return config.device.kind == Device::Kind::kCpu ? cpu::make_concat(config, desc)
                                                  : cuda::make_concat(config, desc);
}

std::unique_ptr<Op> make_slice(const OpConfig& config, const SliceDesc& desc) {
  const Shape& src = desc.src.shape;
  if (desc.axis < 1 || desc.axis >= src.rank())
    throw Error("slice", "axis " + std::to_string(desc.axis) + " of " + src.str() + " cannot be cut",
                "choose an axis behind the samples");
  if (desc.begin < 0 || desc.end <= desc.begin || desc.end > src[desc.axis])
    throw Error("slice",
                "[" + std::to_string(desc.begin) + ", " + std::to_string(desc.end) + ") is no part of axis " +
                    std::to_string(desc.axis) + " of " + src.str(),
                "begin counts from 0, and end is the first element that is left out");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_slice(config, desc)
                                                  : cuda::make_slice(config, desc);
}

}  // namespace lockstep
