// bfloat16 for operations that have no bfloat16 code of their own on this CPU: activations are
// kept in bfloat16, a call converts what it reads to float32, runs the float32 op, and rounds
// what it writes. Sums are float32, as they are in hardware with bfloat16 products.
//
//   if (config.compute == DType::kBFloat16) {
//     NameDesc wide = desc;
//     wide.src = as_float32(desc.src);
//     return through_float32(make_name(as_float32(config), wide));
//   }
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep::cpu {

OpConfig as_float32(const OpConfig& config);
/// The same layout in float32, where the type is bfloat16; other types stay.
TensorDesc as_float32(const TensorDesc& desc);

enum class Weights : uint8_t {
  kFloat32,   // parameters are used as they are: norms, scales
  kBFloat16,  // parameters of two or more dimensions are rounded first: products
};

/// `op`: built in float32. Its float32 src and dst become bfloat16; params and their gradients
/// stay float32. Needs scratchpad for the converted tensors of one call.
/// float32_src: sources (bit i: src[i]) that stay float32, such as targets.
std::unique_ptr<Op> through_float32(std::unique_ptr<Op> op, Weights weights = Weights::kFloat32,
                                    uint32_t float32_src = 0);

}  // namespace lockstep::cpu
