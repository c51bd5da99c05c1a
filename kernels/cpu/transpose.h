// Transposes of float32 matrices, for the matrix products of affine layers.
#pragma once

#include <cstdint>

namespace lockstep::cpu {

/// dst (columns, rows) = transpose of src (rows, columns). They must not overlap.
void transpose(int64_t rows, int64_t columns, const float* src, float* dst);

/// The same, then + bias (rows; null: none) along the rows of dst, then relu if asked.
void transpose_add_bias(int64_t rows, int64_t columns, const float* src, const float* bias, bool relu,
                        float* dst);

}  // namespace lockstep::cpu
