// Weights between the arena's canonical form, float32 (outer, channels, taps), and the form that kernels
// want: (outer, taps, channels) in the type of the activations.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep::cuda {

/// packed (outer, taps, channels) of `dtype` = weights (outer, channels, taps).
void pack_weights(Stream& stream, DType dtype, int64_t outer, int64_t channels, int64_t taps,
                  const float* weights, void* packed);

/// weights (outer, channels, taps) = packed (outer, taps, channels) of `dtype`.
void unpack_weights(Stream& stream, DType dtype, int64_t outer, int64_t channels, int64_t taps,
                    const void* packed, float* weights);

/// dst (n) of `dtype` = src (n).
inline void convert_weights(Stream& stream, DType dtype, int64_t n, const float* src, void* dst) {
  pack_weights(stream, dtype, 1, n, 1, src, dst);
}

}  // namespace lockstep::cuda
