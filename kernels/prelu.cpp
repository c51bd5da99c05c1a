// Checks and the switch to a backend.
#include "kernels/prelu.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_prelu(const OpConfig& config, const PreluDesc& desc) {
  if (desc.src.shape.rank() < (desc.per_channel ? 2 : 1))
    throw Error("prelu", "the source has shape " + desc.src.shape.str() + ", expected (N, C, ...)");
  if (desc.src.dtype != DType::kFloat32 && desc.src.dtype != DType::kBFloat16)
    throw Error("prelu", "the source is " + std::string(name_of(desc.src.dtype)) +
                             ", activations are float32 or bfloat16");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_prelu(config, desc)
                                                  : cuda::make_prelu(config, desc);
}

}  // namespace lockstep
