// The loops of batch normalisation on the CPU. They treat a slab at a time: up to 16 channels that
// are neighbours in memory, or one channel of a dense tensor. All passes over a slab run one
// after the other, so that the second one finds (part of) it in the cache; it walks the samples
// backwards for that reason. Sums: float32 over chunks of some thousand elements, chunks in float64,
// in an order that depends on shapes only.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/bfloat16.h"

namespace lockstep::cpu {

inline constexpr int kMaxSlabWidth = 16;

/// Where the elements of a slab are: sample s, position p, channel w at
/// s * sample_stride + p * pitch + w. pitch 1: a dense plane of one channel.
struct SlabPlaces {
  int64_t samples, sample_stride;
  int64_t positions, pitch;
  int width;  // 16, 8 or 1; padding of a last block included
};

constexpr float kNoBound = std::numeric_limits<float>::quiet_NaN();  // every comparison with it is false

/// dst = (src - center) * scale + shift [+ residual], not below `low` or above `high`.
/// Centering first keeps the digits of data far from zero.
struct SlabAffine {
  alignas(64) float center[kMaxSlabWidth] = {}, scale[kMaxSlabWidth] = {}, shift[kMaxSlabWidth] = {};
  float low = kNoBound, high = kNoBound;
};

/// diff_src = of_gradient * g + of_value * (src - center) + constant
struct SlabGradient {
  alignas(64) float of_gradient[kMaxSlabWidth] = {}, of_value[kMaxSlabWidth] = {},
                    constant[kMaxSlabWidth] = {};
};

// Pointers are to the first element of the slab; arrays hold `width` values. Each loop for float
// and for BFloat16.

/// Mean and sum of squared deviations: chunks in two passes, combined by the formula of
/// Chan, Golub and LeVeque (1979).
void slab_moments(const SlabPlaces& places, const float* src, double* mean, double* deviations);
void slab_moments(const SlabPlaces& places, const BFloat16* src, double* mean, double* deviations);

/// residual may be null. dst may be src.
void slab_normalize(const SlabPlaces& places, const SlabAffine& affine, const float* src,
                    const float* residual, float* dst);
void slab_normalize(const SlabPlaces& places, const SlabAffine& affine, const BFloat16* src,
                    const BFloat16* residual, BFloat16* dst);

/// Sums of g and of g * (src - center), where g is diff_dst if dst is between `low` and `high`, else 0. dst
/// may be null: then it is recomputed from src. masked, which may be null, receives g.
void slab_gradient_sums(const SlabPlaces& places, const SlabAffine& affine, const float* src,
                        const float* dst, const float* diff_dst, float* masked, double* sum,
                        double* centered_sum);
void slab_gradient_sums(const SlabPlaces& places, const SlabAffine& affine, const BFloat16* src,
                        const BFloat16* dst, const BFloat16* diff_dst, BFloat16* masked, double* sum,
                        double* centered_sum);

void slab_input_gradient(const SlabPlaces& places, const SlabAffine& affine, const SlabGradient& gradient,
                         const float* src, const float* dst, const float* diff_dst, float* diff_src);
void slab_input_gradient(const SlabPlaces& places, const SlabAffine& affine, const SlabGradient& gradient,
                         const BFloat16* src, const BFloat16* dst, const BFloat16* diff_dst,
                         BFloat16* diff_src);

}  // namespace lockstep::cpu
