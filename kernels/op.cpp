#include "kernels/op.h"

#include <string>

#include "kernels/error.h"

namespace lockstep {

void check_activation_type(const char* op, const OpConfig& config, DType dtype) {
  const bool is_cuda = config.device.kind == Device::Kind::kCuda;
  if (dtype == DType::kFloat32 || dtype == DType::kBFloat16 || (is_cuda && dtype == DType::kFloat16)) return;
  throw Error(
      op, "cannot compute with " + std::string(name_of(dtype)) + " on " + config.device.str(),
      is_cuda ? "set `precision` to float32, bfloat16 or float16" : "set `precision` to float32 or bfloat16");
}

// Ops without prepared copies of their weights have nothing to refresh.
void Op::prepare(Stream&, std::span<const Tensor>) {}

}  // namespace lockstep
