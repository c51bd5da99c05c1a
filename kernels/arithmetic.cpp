// Checks and the switch to a backend; see arithmetic.h.
#include "kernels/arithmetic.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {
void check_float(const char* op, const TensorDesc& src) {
  if (src.dtype != DType::kFloat32 && src.dtype != DType::kBFloat16)
    throw Error(op, "cannot compute with " + std::string(name_of(src.dtype)));
}
}  // namespace

Shape broadcast_shape(const Shape& a, const Shape& b) {
  const bool a_is_longer = a.rank() >= b.rank();
  Shape result = a_is_longer ? a : b;
  const Shape& other = a_is_longer ? b : a;
  for (int i = 1; i <= other.rank(); ++i) {
    int64_t& extent = result[result.rank() - i];
    const int64_t wanted = other[other.rank() - i];
    if (extent != wanted && extent != 1 && wanted != 1)
      throw Error("", "shapes " + a.str() + " and " + b.str() + " do not broadcast",
                  "aligned at their last axes, extents must be equal or 1; reshape one of them");
    extent = std::max(extent, wanted);
  }
  return result;
}

std::unique_ptr<Op> make_binary(const OpConfig& config, const BinaryDesc& desc) {
  check_float("arithmetic", desc.a);
  check_float("arithmetic", desc.b);
  if (desc.a.shape.rank() < 1 || desc.b.shape.rank() < 1 || desc.a.shape[0] != desc.b.shape[0])
    throw Error("arithmetic", desc.a.shape.str() + " and " + desc.b.shape.str() + " have other samples");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_binary(config, desc)
                                                  : cuda::make_binary(config, desc);
}

std::unique_ptr<Op> make_map(const OpConfig& config, const MapDesc& desc) {
  check_float("arithmetic", desc.src);
  if (desc.src.shape.rank() < 1) throw Error("arithmetic", "src has no samples");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_map(config, desc)
                                                  : cuda::make_map(config, desc);
}

}  // namespace lockstep
