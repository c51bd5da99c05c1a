// Checks and the switch to a backend; see local_response_norm.h.
#include "kernels/local_response_norm.h"

#include <string>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_local_response_norm(const OpConfig& config, const LocalResponseNormDesc& desc) {
  if (desc.src.shape.rank() < 2)
    throw Error("local_response_norm", "src has shape " + desc.src.shape.str() + ", expected (N, C, …)",
                "normalise images before they are flattened");
  check_activation_type("local_response_norm", config, desc.src.dtype);
  if (desc.size < 1)
    throw Error("local_response_norm", "the window has " + std::to_string(desc.size) + " channels",
                "use a `size` of at least 1");
  if (!(desc.k > 0) || !(desc.alpha >= 0))
    throw Error("local_response_norm", "the denominator may be zero", "use k > 0 and alpha >= 0");
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_local_response_norm(config, desc);
  return cpu::make_local_response_norm(config, desc);
}

}  // namespace lockstep
