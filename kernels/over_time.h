// Sequences (N, C, T) as images of height 1: every op over images is one over time, too.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// The image (N, C, 1, T) that is a sequence (N, C, T); same memory, whatever the layout.
TensorDesc as_image(const TensorDesc& sequence);

/// An op whose sources and results are images of height 1, as one whose are sequences.
std::unique_ptr<Op> over_time(std::unique_ptr<Op> op);

}  // namespace lockstep
