// See direct_tiles.h.
#include "kernels/cpu/direct_tiles.h"

#include "kernels/cpu/avx512.h"

#if defined(__x86_64__)

#include <array>
#include <limits>
#include <utility>

namespace lockstep::cpu {

bool have_direct_tiles() { return have_avx512(); }

namespace {

// Accumulators, one row of pixels and one broadcast weight share 32 registers.
constexpr std::array<int, kMaxTileChannels + 1> kTilePixels = {0, 8, 8, 7, 6, 5, 4};

template <int kChannels, int kPixels>
LOCKSTEP_AVX512 void conv_tile_kernel(const ConvTile& t) {
  __m512 sums[kChannels][kPixels];
#pragma GCC unroll 8
  for (int k = 0; k < kChannels; ++k) {
    const __m512 start = t.bias ? _mm512_set1_ps(t.bias[k]) : _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int q = 0; q < kPixels; ++q) sums[k][q] = start;
  }
  const int64_t pixel = t.src_pixel;
  const int64_t weights_row = t.kernel_w * kChannels;
  for (int64_t c = 0; c < t.src_channels; ++c) {
    for (int64_t i = t.i_begin; i < t.i_end; ++i) {
      const float* x = t.src + c * t.src_channel + i * t.src_row + t.j_begin * kLanes;
      const float* w = t.weights + (c * t.kernel_h + i) * weights_row + t.j_begin * kChannels;
      for (int64_t j = t.j_begin; j < t.j_end; ++j, x += kLanes, w += kChannels) {
        __m512 pixels[kPixels];
#pragma GCC unroll 8
        for (int q = 0; q < kPixels; ++q) pixels[q] = _mm512_load_ps(x + q * pixel);
#pragma GCC unroll 8
        for (int k = 0; k < kChannels; ++k) {
          const __m512 weight = _mm512_set1_ps(w[k]);
#pragma GCC unroll 8
          for (int q = 0; q < kPixels; ++q) sums[k][q] = _mm512_fmadd_ps(weight, pixels[q], sums[k][q]);
        }
      }
    }
  }
  // The smaller operand comes first: NaN stays NaN.
  const __m512 lowest = _mm512_set1_ps(t.relu ? 0.0f : -std::numeric_limits<float>::infinity());
#pragma GCC unroll 8
  for (int k = 0; k < kChannels; ++k) {
    float* dst = t.dst + k * t.dst_channel;
#pragma GCC unroll 8
    for (int q = 0; q < kPixels; ++q) {
      _mm512_store_ps(dst + q * kLanes, _mm512_maskz_max_ps(t.lanes, lowest, sums[k][q]));
    }
  }
}

template <int kChannels, int kTaps>
LOCKSTEP_AVX512 void weights_tile_kernel(const WeightsTile& t) {
  __m512 sums[kChannels][kTaps];
#pragma GCC unroll 8
  for (int k = 0; k < kChannels; ++k) {
#pragma GCC unroll 8
    for (int tap = 0; tap < kTaps; ++tap) {
      sums[k][tap] = _mm512_load_ps(t.sums + k * t.sums_channel + tap * kLanes);
    }
  }
  // The sums that the next tile adds to come from the second cache level.
#pragma GCC unroll 8
  for (int k = 0; k < kChannels; ++k) {
#pragma GCC unroll 8
    for (int tap = kTaps; tap < 2 * kTaps; ++tap) {
      _mm_prefetch(t.sums + k * t.sums_channel + tap * kLanes, _MM_HINT_T0);
    }
  }
  for (int64_t p = 0; p < t.rows; ++p) {
    const float* d = t.diff_dst + p * t.diff_row;
    const float* x = t.src + p * t.src_row;
    for (int64_t q = 0; q < t.columns; ++q, d += kLanes, x += t.src_pixel) {
      __m512 taps[kTaps];
#pragma GCC unroll 8
      for (int tap = 0; tap < kTaps; ++tap) taps[tap] = _mm512_load_ps(x + t.offsets[tap]);
#pragma GCC unroll 8
      for (int k = 0; k < kChannels; ++k) {
        const __m512 diff = _mm512_load_ps(d + k * t.diff_channel);
#pragma GCC unroll 8
        for (int tap = 0; tap < kTaps; ++tap) sums[k][tap] = _mm512_fmadd_ps(diff, taps[tap], sums[k][tap]);
      }
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < kChannels; ++k) {
#pragma GCC unroll 8
    for (int tap = 0; tap < kTaps; ++tap) {
      _mm512_store_ps(t.sums + k * t.sums_channel + tap * kLanes, sums[k][tap]);
    }
  }
}

template <int kChannels, int... kIndex>
constexpr auto conv_row(std::integer_sequence<int, kIndex...>) {
  return std::array<ConvTileKernel, kMaxTilePixels>{conv_tile_kernel<kChannels, kIndex + 1>...};
}
template <int kChannels>
constexpr auto conv_row() {
  return conv_row<kChannels>(std::make_integer_sequence<int, kTilePixels[kChannels]>());
}
// As above, with one row of taps and one pixel of diff_dst.
constexpr std::array<int, kMaxWeightsChannels + 1> kTileTaps = {0, 7, 7, 6, 6, 5};

template <int kChannels, int... kIndex>
constexpr auto weights_row(std::integer_sequence<int, kIndex...>) {
  return std::array<WeightsTileKernel, kMaxWeightsTaps>{weights_tile_kernel<kChannels, kIndex + 1>...};
}
template <int kChannels>
constexpr auto weights_row() {
  return weights_row<kChannels>(std::make_integer_sequence<int, kTileTaps[kChannels]>());
}

template <Mask kMask>
LOCKSTEP_AVX512 void mask_loop(int64_t n_pixels, const float* dst, const float* diff_dst, float* masked,
                               float* sum) {
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 total = _mm512_load_ps(sum);
  for (int64_t i = 0; i < n_pixels * kLanes; i += kLanes) {
    __m512 diff = _mm512_load_ps(diff_dst + i);
    if constexpr (kMask != Mask::kNone) {
      const __m512 y = _mm512_load_ps(dst + i);
      if constexpr (kMask == Mask::kRelu) {
        diff = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ), diff);
      } else if constexpr (kMask == Mask::kRelu6) {
        const __mmask16 above = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ);
        diff = _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(above, y, _mm512_set1_ps(6.0f), _CMP_LT_OQ), diff);
      } else if constexpr (kMask == Mask::kTanh) {
        diff = _mm512_mul_ps(diff, _mm512_fnmadd_ps(y, y, one));
      } else {
        diff = _mm512_mul_ps(diff, _mm512_mul_ps(y, _mm512_sub_ps(one, y)));
      }
    }
    _mm512_store_ps(masked + i, diff);
    total = _mm512_add_ps(total, diff);
  }
  _mm512_store_ps(sum, total);
}

}  // namespace

int max_tile_pixels(int channels) { return kTilePixels[channels]; }

int max_tile_taps(int channels) { return kTileTaps[channels]; }

ConvTileKernel conv_tile(int channels, int pixels) {
  static constexpr std::array<std::array<ConvTileKernel, kMaxTilePixels>, kMaxTileChannels> table = {
      conv_row<1>(), conv_row<2>(), conv_row<3>(), conv_row<4>(), conv_row<5>(), conv_row<6>()};
  return table[channels - 1][pixels - 1];
}

WeightsTileKernel weights_tile(int channels, int taps) {
  static constexpr std::array<std::array<WeightsTileKernel, kMaxWeightsTaps>, kMaxWeightsChannels> table = {
      weights_row<1>(), weights_row<2>(), weights_row<3>(), weights_row<4>(), weights_row<5>()};
  return table[channels - 1][taps - 1];
}

void mask_pixels(int64_t n_pixels, Mask mask, const float* dst, const float* diff_dst, float* masked,
                 float* sum) {
  switch (mask) {
    case Mask::kNone: return mask_loop<Mask::kNone>(n_pixels, dst, diff_dst, masked, sum);
    case Mask::kRelu: return mask_loop<Mask::kRelu>(n_pixels, dst, diff_dst, masked, sum);
    case Mask::kRelu6: return mask_loop<Mask::kRelu6>(n_pixels, dst, diff_dst, masked, sum);
    case Mask::kTanh: return mask_loop<Mask::kTanh>(n_pixels, dst, diff_dst, masked, sum);
    case Mask::kSigmoid: return mask_loop<Mask::kSigmoid>(n_pixels, dst, diff_dst, masked, sum);
  }
}

LOCKSTEP_AVX512 void to_lanes(int64_t n, int rows, const float* from, int64_t stride, float* to) {
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    const uint16_t columns = first_lanes(n - begin);
    __m512 r[16];
#pragma GCC unroll 16
    for (int row = 0; row < kLanes; ++row) {
      r[row] = row < rows ? _mm512_maskz_loadu_ps(columns, from + row * stride + begin) : _mm512_setzero_ps();
    }
    transpose(r);
#pragma GCC unroll 16
    for (int column = 0; column < kLanes; ++column) {
      if (begin + column < n) _mm512_store_ps(to + (begin + column) * kLanes, r[column]);
    }
  }
}

LOCKSTEP_AVX512 void add_lanes(int64_t n, const float* src, float* dst) {
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    __m512 r[16];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      r[i] = begin + i < n ? _mm512_load_ps(src + (begin + i) * kLanes) : _mm512_setzero_ps();
    }
    transpose(r);
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) r[i] = _mm512_add_ps(r[i], r[i + width]);
    }
    _mm512_mask_storeu_ps(dst + begin, first_lanes(n - begin), r[0]);
  }
}

}  // namespace lockstep::cpu

#else  // no AVX-512: nobody calls these

namespace lockstep::cpu {
bool have_direct_tiles() { return false; }
int max_tile_pixels(int) { return 1; }
int max_tile_taps(int) { return 1; }
ConvTileKernel conv_tile(int, int) { return nullptr; }
WeightsTileKernel weights_tile(int, int) { return nullptr; }
void mask_pixels(int64_t, Mask, const float*, const float*, float*, float*) {}
void to_lanes(int64_t, int, const float*, int64_t, float*) {}
void add_lanes(int64_t, const float*, float*) {}
}  // namespace lockstep::cpu

#endif
