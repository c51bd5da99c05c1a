// Element-wise activation functions; also the closing step that affine and conv2d fuse.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/op.h"

namespace lockstep {

enum class Activation : uint8_t { kNone, kRelu, kTanh, kSigmoid };

std::string_view name_of(Activation activation);

struct ActivationDesc {
  TensorDesc src;  // any shape and layout
  Activation activation = Activation::kRelu;
};

/// dst = f(src), same shape and layout. Backward uses dst only:
/// relu: dst > 0; tanh: 1 - dst^2; sigmoid: dst * (1 - dst).
std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc);

}  // namespace lockstep
