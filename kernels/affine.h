// Affine map (fully connected layer), optionally closed by an activation.
#pragma once

#include <memory>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep {

struct AffineDesc {
  TensorDesc src;            // (N, I), or (N, …, I), whose rows are mapped one by one
  int64_t out_features = 0;  // O
  bool has_bias = true;
  Activation activation = Activation::kNone;  // fused
  bool wants_diff_src = true;                 // false for the first layer
};

/// dst (N, …, O) = f(src (N, …, I) · weights (O, I)^T + bias (O)).
/// params = {weights (O, I), bias (O) if has_bias}; diff_params likewise.
std::unique_ptr<Op> make_affine(const OpConfig& config, const AffineDesc& desc);

/// The extents of such a map: rows of all samples, and the shape of dst.
struct AffineExtents {
  int64_t rows = 0, in = 0;
  Shape dst;
  explicit AffineExtents(const AffineDesc& desc);
};

}  // namespace lockstep
