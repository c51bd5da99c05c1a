// Checks and the switch to a backend; names of the activation functions.
#include "kernels/activation.h"

#include "kernels/backend.h"

namespace lockstep {

std::string_view name_of(Activation activation) {
  switch (activation) {
    case Activation::kNone: return "none";
    case Activation::kRelu: return "relu";
    case Activation::kTanh: return "tanh";
    case Activation::kSigmoid: return "sigmoid";
    case Activation::kRelu6: return "relu6";
  }
  return "?";
}

std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc) {
  return config.device.kind == Device::Kind::kCpu ? cpu::make_activation(config, desc)
                                                  : cuda::make_activation(config, desc);
}

}  // namespace lockstep
