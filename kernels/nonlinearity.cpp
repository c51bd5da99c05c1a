// Checks and the switch to a backend; names of the functions.
#include "kernels/nonlinearity.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::string_view name_of(Nonlinearity function) {
  switch (function) {
    case Nonlinearity::kSign: return "sign";
    case Nonlinearity::kLeakyRelu: return "leaky_relu";
    case Nonlinearity::kElu: return "elu";
    case Nonlinearity::kGelu: return "gelu";
    case Nonlinearity::kGeluTanh: return "gelu_tanh";
  }
  return "?";
}

std::unique_ptr<Op> make_nonlinearity(const OpConfig& config, const NonlinearityDesc& desc) {
  const std::string name(name_of(desc.function));
  check_activation_type(name.c_str(), config, desc.src.dtype);
  if (desc.function == Nonlinearity::kLeakyRelu && !(desc.alpha >= 0))
    throw Error(name, "the slope must not be negative", "the usual one is 0.01");
  if (desc.function == Nonlinearity::kElu && !(desc.alpha > 0))
    throw Error(name, "alpha must be positive", "the usual one is 1");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_nonlinearity(config, desc)
                                                  : cuda::make_nonlinearity(config, desc);
}

}  // namespace lockstep
