// What surrounds a matrix product in a layer: bias and activation after it, and on the way
// back the derivative of the activation together with the bias gradient, each in one pass.
// Two forms: bias along the columns (features side by side), and bias along the rows
// (samples side by side). Sums have a fixed order, whatever the number of threads.
#pragma once

#include <cstdint>

#include "kernels/activation.h"

namespace lockstep::cpu {

/// data (rows, columns) += bias (columns), then relu if `relu`. bias may be null.
void add_bias(int64_t rows, int64_t columns, const float* bias, bool relu, float* data);

/// masked (rows, columns) = diff_dst * f'(dst), diff_bias (columns) = column sums of masked.
/// dst is not read for kNone. masked may be null for kNone (it would equal diff_dst), and
/// diff_bias may be null.
void backward_epilogue(int64_t rows, int64_t columns, Activation activation, const float* dst,
                       const float* diff_dst, float* masked, float* diff_bias);

/// data (rows, columns) += bias (rows), then relu if `relu`. bias may be null.
void add_bias_to_rows(int64_t rows, int64_t columns, const float* bias, bool relu, float* data);

/// As backward_epilogue, but diff_bias (rows) = row sums of masked: 16 running sums, one per
/// column modulo 16, added as a binary tree.
void backward_epilogue_of_rows(int64_t rows, int64_t columns, Activation activation, const float* dst,
                               const float* diff_dst, float* masked, float* diff_bias);

}  // namespace lockstep::cpu
