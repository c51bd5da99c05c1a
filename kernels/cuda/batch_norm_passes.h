// The four passes of batch normalisation over the elements; see batch_norm.cu. Forward and backward compute
// dst from src by the same operations, so that a mask recomputed in backward is that of forward.
#pragma once

#include "kernels/cuda/channel_pass.h"

namespace lockstep::cuda {

/// dst = (src - center) * scale + shift [+ residual], not below `low` or above `high`; NaN: no bound. Arrays
/// of one number per channel. Centering first keeps the digits of data far from zero.
struct Affine {
  const float *center, *scale, *shift;
  float low, high;
};

/// What a thread keeps of it.
template <int kChannels>
struct AffineOf {
  float center[kChannels], scale[kChannels], shift[kChannels];
  __device__ __forceinline__ void begin(const Affine& affine, int64_t channel) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      center[c] = affine.center[channel + c];
      scale[c] = affine.scale[channel + c];
      shift[c] = affine.shift[channel + c];
    }
  }
  /// x: centered.
  __device__ __forceinline__ float value(int c, float x) const { return fmaf(x, scale[c], shift[c]); }
};

/// Where dst = y is at a bound, no gradient passes.
__device__ __forceinline__ float masked_gradient(const Affine& affine, float y, float g) {
  return y <= affine.low || y >= affine.high ? 0.0f : g;
}

template <typename T, int W>
__device__ __forceinline__ void store_zeros(T* to) {
  Pack<T, W> zeros;
#pragma unroll
  for (int k = 0; k < W; ++k) zeros.at[k] = from_float<T>(0.0f);
  store<W>(to, zeros);
}

/// Sums of x and x^2 of each channel, taken as distances from the first x of the cut.
template <typename T, int W, bool kInPlanes>
struct Moments : PassForm<T, W, kInPlanes> {
  static constexpr bool kSums = true;
  static constexpr int kUnroll = 4;
  static constexpr int kChannels = PassForm<T, W, kInPlanes>::kChannels;
  using Loaded = Waiting<T, W>;
  const T* src;
  float origin[kChannels], first[kChannels], second[kChannels];

  __device__ void begin(int64_t, int64_t place) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      origin[c] = place >= 0 ? to_float(src[place + c]) : 0.0f;
      first[c] = second[c] = 0.0f;
    }
  }
  __device__ Loaded load(int64_t place, int64_t) const {
    Loaded x;
    x.take(src + place);
    return x;
  }
  __device__ void use(int64_t, const Loaded& x) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      constexpr int n = kChannels;
      const float distance = x[k] - origin[k % n];
      first[k % n] += distance;
      second[k % n] = fmaf(distance, distance, second[k % n]);
    }
  }
  __device__ void pad(int64_t) const {}
  __device__ void totals(int c, double n, double& sum, double& squares) const {
    const double from = static_cast<double>(origin[c]);
    squares += from * (2 * sum + n * from);
    sum += n * from;
  }
};

template <typename T, int W, bool kInPlanes>
struct Normalize : PassForm<T, W, kInPlanes> {
  static constexpr bool kSums = false;
  static constexpr int kUnroll = 4;
  static constexpr int kChannels = PassForm<T, W, kInPlanes>::kChannels;
  struct Loaded {
    Waiting<T, W> x, residual;
  };
  Affine affine;
  const T *src, *residual;  // residual may be null
  T* dst;
  AffineOf<kChannels> own;

  __device__ void begin(int64_t channel, int64_t) { own.begin(affine, channel); }
  __device__ Loaded load(int64_t place, int64_t) const {
    Loaded loaded;
    loaded.x.take(src + place);
    if (residual) loaded.residual.take(residual + place);
    return loaded;
  }
  __device__ void use(int64_t place, const Loaded& loaded) const {
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const int c = k % kChannels;
      float y = own.value(c, loaded.x[k] - own.center[c]);
      if (residual) y += loaded.residual[k];
      y = affine.low > y ? affine.low : y;  // NaN stays NaN
      y = affine.high < y ? affine.high : y;
      result.at[k] = from_float<T>(y);
    }
    store<W>(dst + place, result);
  }
  __device__ void pad(int64_t place) const { store_zeros<T, W>(dst + place); }
};

/// g = diff_dst where dst is between the bounds: sums of g and of g * (src - center).
template <typename T, int W, bool kInPlanes>
struct GradientSums : PassForm<T, W, kInPlanes> {
  static constexpr bool kSums = true;
  static constexpr int kUnroll = 2;
  static constexpr int kChannels = PassForm<T, W, kInPlanes>::kChannels;
  struct Loaded {
    Waiting<T, W> x, g, y;
  };
  Affine affine;
  const T *src, *dst, *diff_dst;  // dst null: recomputed from src
  T* masked;                      // receives g; may be null
  AffineOf<kChannels> own;
  float first[kChannels], second[kChannels];

  __device__ void begin(int64_t channel, int64_t) {
    own.begin(affine, channel);
#pragma unroll
    for (int c = 0; c < kChannels; ++c) first[c] = second[c] = 0.0f;
  }
  __device__ Loaded load(int64_t place, int64_t) const {
    Loaded loaded;
    loaded.x.take(src + place);
    loaded.g.take(diff_dst + place);
    if (dst) loaded.y.take(dst + place);
    return loaded;
  }
  __device__ void use(int64_t place, const Loaded& loaded) {
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const int c = k % kChannels;
      const float x = loaded.x[k] - own.center[c];
      const float y = dst ? loaded.y[k] : own.value(c, x);
      const float g = masked_gradient(affine, y, loaded.g[k]);
      first[c] += g;
      second[c] = fmaf(g, x, second[c]);
      result.at[k] = from_float<T>(g);
    }
    if (masked) store<W>(masked + place, result);
  }
  __device__ void pad(int64_t place) const {
    if (masked) store_zeros<T, W>(masked + place);
  }
  __device__ void totals(int, double, double&, double&) const {}
};

/// diff_src = of_gradient * g + of_value * (src - center) + constant
struct GradientAffine {
  const float *of_gradient, *of_value, *constant;
};

template <typename T, int W, bool kInPlanes>
struct InputGradient : PassForm<T, W, kInPlanes> {
  static constexpr bool kSums = false;
  static constexpr int kUnroll = 2;
  static constexpr int kChannels = PassForm<T, W, kInPlanes>::kChannels;
  using Loaded = typename GradientSums<T, W, kInPlanes>::Loaded;
  Affine affine;
  GradientAffine gradient;
  const T *src, *dst, *diff_dst;
  T* diff_src;
  AffineOf<kChannels> own;
  float of_gradient[kChannels], of_value[kChannels], constant[kChannels];

  __device__ void begin(int64_t channel, int64_t) {
    own.begin(affine, channel);
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      of_gradient[c] = gradient.of_gradient[channel + c];
      of_value[c] = gradient.of_value[channel + c];
      constant[c] = gradient.constant[channel + c];
    }
  }
  __device__ Loaded load(int64_t place, int64_t) const {
    Loaded loaded;
    loaded.x.take(src + place);
    loaded.g.take(diff_dst + place);
    if (dst) loaded.y.take(dst + place);
    return loaded;
  }
  __device__ void use(int64_t place, const Loaded& loaded) const {
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const int c = k % kChannels;
      const float x = loaded.x[k] - own.center[c];
      const float y = dst ? loaded.y[k] : own.value(c, x);
      const float g = masked_gradient(affine, y, loaded.g[k]);
      result.at[k] = from_float<T>(fmaf(of_gradient[c], g, fmaf(of_value[c], x, constant[c])));
    }
    store<W>(diff_src + place, result);
  }
  __device__ void pad(int64_t place) const { store_zeros<T, W>(diff_src + place); }
};

}  // namespace lockstep::cuda
