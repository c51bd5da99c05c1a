// Layer normalisation (Ba, Kiros and Hinton 2016) over the last dimensions of a sample.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct LayerNormDesc {
  TensorDesc src;  // (N, …), float32 or bfloat16
  int axes = 1;    // how many of the last dimensions are normalised together; N is none of them
  double epsilon = 1e-5;
  bool affine = true;  // learned weight and bias
};

/// dst = (src - mean) / sqrt(variance + epsilon) * weight + bias, with mean and (biased) variance of each
/// row of D = product of the last `axes` extents. dst has the shape of src; both are dense.
/// Params, only if affine: weight, bias, each of the shape of the last `axes` dimensions.
/// Padding samples (from n_valid on) are not computed: dst and diff_src are 0 there.
std::unique_ptr<Op> make_layer_norm(const OpConfig& config, const LayerNormDesc& desc);

}  // namespace lockstep
