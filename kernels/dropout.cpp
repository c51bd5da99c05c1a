// Checks, what needs no arithmetic, and the switch to a backend.
#include "kernels/dropout.h"

#include "kernels/backend.h"
#include "kernels/error.h"
#include "kernels/reshape.h"

namespace lockstep {

std::unique_ptr<Op> make_dropout(const OpConfig& config, const DropoutDesc& desc) {
  if (!(desc.p >= 0 && desc.p < 1))
    throw Error("dropout", "p must lie in [0, 1), found " + std::to_string(desc.p),
                "p is the share that is dropped, for instance 0.5");
  if (desc.src.shape.rank() < 1)
    throw Error("dropout", "the source has no dimensions, expected (N, ...)",
                "give src a first dimension that counts samples");
  check_activation_type("dropout", config, desc.src.dtype);
  if (desc.p == 0 || (!config.training && !desc.test_time_scaling)) return make_identity(config, desc.src);
  return config.device.kind == Device::Kind::kCpu ? cpu::make_dropout(config, desc)
                                                  : cuda::make_dropout(config, desc);
}

}  // namespace lockstep
