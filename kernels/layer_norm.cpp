// Checks and the switch to a backend; see layer_norm.h.
#include "kernels/layer_norm.h"

#include <string>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_layer_norm(const OpConfig& config, const LayerNormDesc& desc) {
  const int rank = desc.src.shape.rank();
  if (desc.axes < 1 || desc.axes > rank - 1)
    throw Error("layer_norm",
                "cannot normalise the last " + std::to_string(desc.axes) + " dimensions of src " +
                    desc.src.shape.str() + ", of which the first counts samples",
                "use `axes` from 1 to " + std::to_string(rank - 1));
  check_activation_type("layer_norm", config, desc.src.dtype);
  if (!(desc.epsilon > 0))
    throw Error("layer_norm", "epsilon is " + std::to_string(desc.epsilon) + ", it must be positive",
                "use 1e-5");
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_layer_norm(config, desc);
  return cpu::make_layer_norm(config, desc);
}

}  // namespace lockstep
