// Checks and the switch to a backend.
#include "kernels/softmax.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_softmax(const OpConfig& config, const TensorDesc& src) {
  if (src.shape.rank() < 2 || src.shape[src.shape.rank() - 1] < 1)
    throw Error("softmax", "the source has shape " + src.shape.str() + ", expected (N, ..., K) with K >= 1",
                "give src a last dimension of classes behind the samples");
  check_activation_type("softmax", config, src.dtype);
  return config.device.kind == Device::Kind::kCpu ? cpu::make_softmax(config, src)
                                                  : cuda::make_softmax(config, src);
}

}  // namespace lockstep
