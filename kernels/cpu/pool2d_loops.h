// The loops of pooling on the CPU, over images seen as planes (H, W, inner): dense NCHW has
// inner = 1, a channel-blocked layout such as nChw16c has inner = 16. See pool2d_forward.cpp and
// pool2d_backward.cpp.
#pragma once

#include <cstdint>

#include "kernels/pool_shape.h"

namespace lockstep::cpu {

// Each call does the planes [begin, end). Pointers are to the whole tensors. `places`, of the
// shape of dst, holds i * kernel_w + j of each maximum; null in max_pool_forward: not wanted.
// Place is uint8_t (windows of at most 256 elements) or int32_t.
template <typename Place>
void max_pool_forward(const PoolShape& shape, int64_t begin, int64_t end, const float* src, float* dst,
                      Place* places);
template <typename Place>
void max_pool_backward(const PoolShape& shape, int64_t begin, int64_t end, const float* diff_dst,
                       const Place* places, float* diff_src);
// Averages, and weighted sums where the shape has weights.
void average_pool_forward(const PoolShape& shape, int64_t begin, int64_t end, const float* src, float* dst);
void average_pool_backward(const PoolShape& shape, int64_t begin, int64_t end, const float* diff_dst,
                           float* diff_src);

}  // namespace lockstep::cpu
