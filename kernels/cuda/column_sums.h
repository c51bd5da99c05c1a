// Sums over the rows of a matrix, as bias gradients are. Blocks sum chunks of rows, a second pass the
// chunks; the order depends on the shape only.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep::cuda {

/// Bytes of `partials` below.
int64_t column_sums_bytes(int64_t rows, int64_t columns);

/// dst (columns) float32 = sums over src (rows, columns) of `dtype`: float32, bfloat16 or float16.
void column_sums(Stream& stream, DType dtype, int64_t rows, int64_t columns, const void* src, float* dst,
                 void* partials);

/// masked (rows, columns) = diff_dst * f'(dst), and sums (columns) over it before it is rounded.
void masked_column_sums(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
                        const void* dst, const void* diff_dst, void* masked, float* sums, void* partials);

}  // namespace lockstep::cuda
