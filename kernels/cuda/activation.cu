// relu, relu6, tanh and sigmoid as ops of their own; backward reads dst only.
#include "kernels/activation.h"

#include "kernels/backend.h"
#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/unary_op.h"
#include "kernels/reshape.h"

namespace lockstep::cuda {

std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc) {
  if (desc.activation == Activation::kNone) return lockstep::make_reorder(config, desc.src, desc.src);
  std::unique_ptr<Op> op;
  with_activation(desc.activation,
                  [&](auto f) { op = std::make_unique<UnaryOp<decltype(f)>>(desc.src, f, false); });
  return op;
}

}  // namespace lockstep::cuda
