// Checks and the switch to a backend.
#include "kernels/prelu.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_prelu(const OpConfig& config, const PreluDesc& desc) {
  if (desc.src.shape.rank() < (desc.per_channel ? 2 : 1))
    throw Error(
        "prelu", "the source has shape " + desc.src.shape.str() + ", expected (N, C, ...)",
        "give src a dimension of channels behind the samples, or use one slope for all (per_channel false)");
  check_activation_type("prelu", config, desc.src.dtype);
  return config.device.kind == Device::Kind::kCpu ? cpu::make_prelu(config, desc)
                                                  : cuda::make_prelu(config, desc);
}

}  // namespace lockstep
