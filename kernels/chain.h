// Two ops as one, such as a convolution and the padding before it. What lies between them is neither a
// value of the plan nor kept for backward: it is made again in the scratchpad, where a call needs it.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// second(first(src)), with the parameters of `second`. `first` has one source, one result, neither
/// parameters nor workspace, and its backward() needs neither src nor dst. A reorder comes between
/// them where their layouts or types differ.
std::unique_ptr<Op> chain(const OpConfig& config, std::unique_ptr<Op> first, std::unique_ptr<Op> second);

}  // namespace lockstep
