// Local response normalisation across channels (Krizhevsky, Sutskever and Hinton 2012, section 3.3).
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct LocalResponseNormDesc {
  TensorDesc src;    // (N, C) or (N, C, …), float32 or bfloat16
  int64_t size = 5;  // channels of a window
  double alpha = 1e-4, beta = 0.75, k = 1;
};

/// dst_c = src_c * d_c^-beta, d_c = k + alpha / size * sum of src_j^2 over the channels j of the window
/// [c - size / 2, c + (size - 1) / 2] that exist: PyTorch's definition. dst has the form of src. No params.
std::unique_ptr<Op> make_local_response_norm(const OpConfig& config, const LocalResponseNormDesc& desc);

}  // namespace lockstep
