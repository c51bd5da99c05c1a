// Checks and the switch to a backend; see sum.h.
#include "kernels/sum.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

bool sum_fuses(Activation activation) {
  return activation == Activation::kNone || activation == Activation::kRelu ||
         activation == Activation::kRelu6;
}

std::unique_ptr<Op> make_sum(const OpConfig& config, const SumDesc& desc) {
  if (desc.src.size() < 2 || desc.src.size() > kMaxSummands)
    throw Error("sum", "adds 2 to 8 values, got " + std::to_string(desc.src.size()),
                "add the sums of some of them");
  for (const TensorDesc& src : desc.src) {
    if (src.shape != desc.src[0].shape)
      throw Error("sum", "shapes differ: " + desc.src[0].shape.str() + " and " + src.shape.str(),
                  "make them equal, or use make_binary, which broadcasts");
    check_activation_type("sum", config, src.dtype);
  }
  if (!sum_fuses(desc.activation))
    throw Error("sum", "does not close with " + std::string(name_of(desc.activation)),
                "let the activation be an op of its own");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_sum(config, desc)
                                                  : cuda::make_sum(config, desc);
}

}  // namespace lockstep
