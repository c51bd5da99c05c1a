// Checks and the switch to a backend; see batch_norm.h.
#include "kernels/batch_norm.h"

#include <string>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig& config, const BatchNormDesc& desc) {
  if (desc.src.shape.rank() < 2)
    throw Error("batch_norm", "src has shape " + desc.src.shape.str() + ", expected (N, C) or (N, C, …)",
                "give the data at least one dimension besides the samples");
  check_activation_type("batch_norm", config, desc.src.dtype);
  if (!(desc.epsilon > 0))
    throw Error("batch_norm", "epsilon is " + std::to_string(desc.epsilon) + ", it must be positive",
                "use 1e-5");
  if (desc.activation != Activation::kNone && desc.activation != Activation::kRelu &&
      desc.activation != Activation::kRelu6)
    throw Error("batch_norm", "cannot close with " + std::string(name_of(desc.activation)),
                "make the activation an operation of its own");
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_batch_norm(config, desc);
  return cpu::make_batch_norm(config, desc);
}

}  // namespace lockstep
