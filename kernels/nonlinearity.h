// Element-wise activation functions that stand alone: they have a parameter, or a derivative that
// dst does not tell. Those that other ops can close with are in activation.h.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/op.h"

namespace lockstep {

enum class Nonlinearity : uint8_t { kSign, kLeakyRelu, kElu, kGelu, kGeluTanh };

std::string_view name_of(Nonlinearity function);

struct NonlinearityDesc {
  TensorDesc src;  // any shape and layout, float32 or bfloat16
  Nonlinearity function = Nonlinearity::kLeakyRelu;
  float alpha = 0;  // see below
};

/// dst = f(src), same shape, type and layout.
///   sign        1 where src > 0, -1 where src < 0, alpha where it is 0; the gradient is 0
///   leaky_relu  src where src > 0, else alpha src; alpha >= 0 (Maas et al. 2013)
///   elu         src where src > 0, else alpha (exp(src) - 1); alpha > 0 (Clevert et al. 2016)
///   gelu        src Phi(src), Phi the normal distribution function (Hendrycks and Gimpel 2016)
///   gelu_tanh   their approximation: src/2 (1 + tanh(sqrt(2/pi) (src + 0.044715 src^3)))
/// At 0 leaky_relu and elu have the derivative of the left side.
std::unique_ptr<Op> make_nonlinearity(const OpConfig& config, const NonlinearityDesc& desc);

}  // namespace lockstep
