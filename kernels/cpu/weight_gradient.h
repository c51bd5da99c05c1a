// The product of an affine layer over many rows that gives the gradient of its weights. oneDNN's sgemm packs
// a transposed matrix column by column, and columns that are multiples of a page apart fall into the same
// cache sets: half of its rate for 1024 features. So the wider matrix is copied, some rows at a time, to rows
// that are a little longer.
#pragma once

#include <cstdint>

namespace lockstep::cpu {

/// Floats of scratch memory that weight_gradient() needs.
int64_t weight_gradient_scratch(int64_t rows, int64_t out, int64_t in);

/// dst (out, in) = diff (rows, out)^T · src (rows, in), all dense. Sums over the rows run in an order that
/// the extents alone fix.
void weight_gradient(int64_t rows, int64_t out, int64_t in, const float* diff, const float* src, float* dst,
                     float* scratch);

}  // namespace lockstep::cpu
