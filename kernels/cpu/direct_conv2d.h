// Direct convolution over 16 samples at a time, for layers with few channels: LeNet's 1 -> 6
// and 6 -> 16 would waste most of oneDNN's channel blocks of 16. Activations between such
// layers are in the batch-blocked layout (N/16, C, H, W, 16), oneDNN's Abcd16a.
#pragma once

#include <memory>

#include "kernels/conv2d.h"
#include "kernels/cpu/onednn.h"

namespace lockstep::cpu {

/// The fixed rule: true where the direct kernel is the faster one. Depends on the shapes and
/// on the instruction set only.
bool prefers_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc);

std::unique_ptr<Op> make_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc);

}  // namespace lockstep::cpu
