// The inner loops of the direct convolution (direct_conv2d.h). Sixteen samples share a vector:
// a pixel is 16 floats, one per sample, and all sums are vertical, so that channel counts far
// from a multiple of 16 waste nothing. Register tiles follow the outer-product form of Goto
// and van de Geijn (2008); every sum runs over (channel, kernel row, kernel column) in order.
// AVX-512 only: ask have_direct_tiles() first.
#pragma once

#include <cstdint>

#include "kernels/cpu/avx512.h"

namespace lockstep::cpu {

bool have_direct_tiles();

/// dst (channels, pixels) = bias + sum over taps of weights * src, for one row of pixels.
/// Distances count floats.
struct ConvTile {
  const float* src;  // tap (0, 0) of the first pixel, channel 0
  int64_t src_channel, src_row, src_pixel;
  int64_t src_channels, kernel_h, kernel_w;
  int64_t i_begin, i_end, j_begin, j_end;  // the taps that touch the image
  const float* weights;                    // (src_channels, kernel_h, kernel_w, channels of this tile)
  const float* bias;                       // (channels of this tile), or null
  bool relu;
  uint16_t lanes;  // others become zero
  float* dst;
  int64_t dst_channel;
};
using ConvTileKernel = void (*)(const ConvTile&);
constexpr int kMaxTileChannels = 6, kMaxTilePixels = 8;
/// Largest number of pixels that fits the registers with that many channels.
int max_tile_pixels(int channels);
ConvTileKernel conv_tile(int channels, int pixels);

/// sums (channels, taps, 16) += sum over pixels of diff_dst * src.
struct WeightsTile {
  const float* diff_dst;
  int64_t diff_channel, diff_row;  // pixels follow each other
  const float* src;                // of the first pixel; tap t is at src + offsets[t]
  int64_t src_row, src_pixel;
  const int64_t* offsets;
  int64_t rows, columns;
  float* sums;
  int64_t sums_channel;
};
using WeightsTileKernel = void (*)(const WeightsTile&);
constexpr int kMaxWeightsChannels = 5, kMaxWeightsTaps = 7;
int max_tile_taps(int channels);
WeightsTileKernel weights_tile(int channels, int taps);

enum class Mask : uint8_t { kNone, kRelu, kRelu6, kTanh, kSigmoid };
/// masked = diff_dst * f'(dst) for n_pixels pixels; adds the pixels to sum (16).
void mask_pixels(int64_t n_pixels, Mask mask, const float* dst, const float* diff_dst, float* masked,
                 float* sum);

/// (rows, n) with `stride` between rows -> (n, 16); rows beyond `rows` (<= 16) become zero.
void to_lanes(int64_t n, int rows, const float* from, int64_t stride, float* to);

/// dst (n) = sums of the lanes of src (n, 16), each as a binary tree.
void add_lanes(int64_t n, const float* src, float* dst);

}  // namespace lockstep::cpu
