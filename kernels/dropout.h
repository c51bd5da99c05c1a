// Dropout (Srivastava et al. 2014), in the two scalings of the course.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct DropoutDesc {
  TensorDesc src;  // (N, …)
  double p = 0.5;  // probability of dropping, [0, 1)
  bool test_time_scaling = false;
  uint64_t key = 0;  // of the layer: hash_name() of its name
};

/// Training: dst = src / (1 - p) with probability 1 - p, else 0. Evaluation: dst = src. With
/// `test_time_scaling` training keeps src as it is, and evaluation multiplies by 1 - p.
/// Whether element e of a sample (in dense order) is kept depends on the seed, the step, the layer's
/// key, the sample's id and e alone: it is word e of
///   RandomStream(mix_bits(seed) ^ key, kDropout, step, sample id) >= p 2^32.
/// The CPU keeps the mask in the workspace, a byte per element; a GPU draws it again.
std::unique_ptr<Op> make_dropout(const OpConfig& config, const DropoutDesc& desc);

}  // namespace lockstep
