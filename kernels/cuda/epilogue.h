// What surrounds a matrix product or convolution in a layer: bias and activation after it, and on the way
// back the derivative of the activation together with the bias gradient. A matrix has one row per sample
// or pixel and one column per feature.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep::cuda {

/// data (rows, columns) = f(data + bias (columns) float32); bias may be null.
void add_bias(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
              const float* bias, void* data);

/// Bytes of `partials` below; 0 without bias.
int64_t backward_epilogue_bytes(bool has_bias, int64_t rows, int64_t columns);

/// masked (rows, columns) = diff_dst * f'(dst), diff_bias (columns) float32 = column sums of it. For kNone
/// dst and masked are not touched; diff_bias may be null.
void backward_epilogue(Stream& stream, DType dtype, Activation activation, int64_t rows, int64_t columns,
                       const void* dst, const void* diff_dst, void* masked, float* diff_bias, void* partials);

}  // namespace lockstep::cuda
