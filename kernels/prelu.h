// PReLU (He et al. 2015): a rectifier whose negative slope is learned.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct PreluDesc {
  TensorDesc src;            // (N, C, …) float32 or bfloat16
  bool per_channel = false;  // one slope per channel (C); else one for all
};

/// dst = src where src > 0, else slope * src. params: {slope (C) or (1)}.
/// diff_params[0] = sum of diff_dst * src over what is not positive, in float64.
std::unique_ptr<Op> make_prelu(const OpConfig& config, const PreluDesc& desc);

}  // namespace lockstep
