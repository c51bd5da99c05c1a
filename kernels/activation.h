// Element-wise activation functions that an op can close with (affine, conv2d, norms): they have no
// parameter, and their derivative follows from dst alone. The others are in nonlinearity.h.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/op.h"

namespace lockstep {

enum class Activation : uint8_t { kNone, kRelu, kTanh, kSigmoid, kRelu6 };

std::string_view name_of(Activation activation);

struct ActivationDesc {
  TensorDesc src;  // any shape and layout
  Activation activation = Activation::kRelu;
};

/// dst = f(src), same shape, type (float32 or bfloat16) and layout. Backward uses dst only:
/// relu: dst > 0; relu6 = min(relu, 6): 0 < dst < 6; tanh: 1 - dst^2; sigmoid: dst * (1 - dst).
std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc);

}  // namespace lockstep
