// Ops that move elements without arithmetic: reshape (a view) and reorder (another layout or type),
// and the sum of gradients where a value has several readers.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// dst is src (dense row-major) under `shape`; the element counts must agree.
/// info().aliases_src: the plan gives dst the memory of src and diff_src that of diff_dst.
std::unique_ptr<Op> make_reshape(const OpConfig& config, const TensorDesc& src, const Shape& shape);

/// dst is src, as a view, in whatever layout.
std::unique_ptr<Op> make_identity(const OpConfig& config, const TensorDesc& src);

/// dst has the layout and type of `dst`: shapes are equal, types may be float32 and bfloat16 (rounded
/// to the nearest, ties to even). Backward goes the other way.
std::unique_ptr<Op> make_reorder(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst);

}  // namespace lockstep
