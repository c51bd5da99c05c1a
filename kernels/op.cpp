#include "kernels/op.h"

#include <string>

#include "kernels/error.h"

namespace lockstep {

bool is_activation_type(Device device, DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 ||
         (dtype == DType::kFloat16 && device.kind == Device::Kind::kCuda);
}

void check_activation_type(const char* op, const OpConfig& config, DType dtype) {
  if (is_activation_type(config.device, dtype)) return;
  const bool is_cuda = config.device.kind == Device::Kind::kCuda;
  throw Error(
      op, "cannot compute with " + std::string(name_of(dtype)) + " on " + config.device.str(),
      is_cuda ? "set `precision` to float32, bfloat16 or float16" : "set `precision` to float32 or bfloat16");
}

// Ops without prepared copies of their weights have nothing to refresh.
void Op::prepare(Stream&, std::span<const Tensor>) {}

}  // namespace lockstep
