// Convolutions of images whose pixels are 16 samples side by side, cut into the register tiles
// of direct_tiles.h: first the images, then a forward pass, then the gradient of the weights.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/direct_tiles.h"

namespace lockstep::cpu {

/// Sixteen images of C channels with a margin of zeros. Distances and sizes count floats.
struct LaneImage {
  int64_t channels, height, width;  // without margins
  int64_t top, bottom, left, right;

  int64_t row() const { return (left + width + right) * kLanes; }
  int64_t channel() const { return (top + height + bottom) * row(); }
  int64_t n_floats() const { return channels * channel(); }
  int64_t origin() const { return top * row() + left * kLanes; }  // of pixel (0, 0)
  bool has_margin() const { return top + bottom + left + right > 0; }
  void zero_margins(float* image) const;
};

/// A convolution with stride and without dilation or groups, for one image at a time.
struct LaneConv {
  LaneImage src;                        // margins: at least the columns of the padding
  int64_t dst_channels, rows, columns;  // of dst
  int64_t kernel_h, kernel_w, stride_h, stride_w;
  int64_t pad_top, pad_left;  // tap (0, 0) of pixel (0, 0) is at -pad_top, -pad_left
  std::vector<int> channel_tiles, pixel_tiles;

  void make_tiles();
  int64_t taps() const { return src.channels * kernel_h * kernel_w; }
  int64_t dst_floats() const { return dst_channels * rows * columns * kLanes; }

  /// Weights in the order of the tiles; get(k, c, i, j) tells one.
  template <typename Get>
  void pack(float* packed, const Get& get) const {
    int64_t first = 0;
    for (const int tile : channel_tiles) {
      for (int64_t c = 0; c < src.channels; ++c)
        for (int64_t i = 0; i < kernel_h; ++i)
          for (int64_t j = 0; j < kernel_w; ++j)
            for (int64_t k = first; k < first + tile; ++k) *packed++ = get(k, c, i, j);
      first += tile;
    }
  }

  /// dst (K, P, Q, 16) = conv(image) + bias, then relu if asked; `bias` may be null, lanes that
  /// are not in `lanes` become zero. `image` is the whole of src, margins included.
  void run(const float* image, const float* packed, const float* bias, bool relu, uint16_t lanes,
           float* dst) const;
};

/// The gradient of the weights of a LaneConv, kept per lane.
struct LaneConvWeights {
  std::vector<int> channel_tiles, tap_tiles;
  std::vector<int64_t> offsets;  // of each tap (c, i, j) in src, whose margins hold all padding
  int64_t strip_rows = 0;        // of dst that are worked on together

  void make_tiles(const LaneConv& conv);
  int max_tile_channels() const { return channel_tiles.front(); }

  /// sums (K, taps, 16) += of one image. diff_strip(first channel, channels, first row, rows)
  /// provides these rows of diff_dst, just before they are read; distances as given.
  template <typename DiffStrip>
  void run(const LaneConv& conv, const float* image, int64_t diff_row, int64_t diff_channel,
           const DiffStrip& diff_strip, float* sums) const {
    WeightsTile t{};
    t.diff_channel = diff_channel;
    t.diff_row = diff_row;
    t.src_row = conv.stride_h * conv.src.row();
    t.src_pixel = conv.stride_w * kLanes;
    t.columns = conv.columns;
    t.sums_channel = conv.taps() * kLanes;
    for (int64_t p = 0; p < conv.rows; p += strip_rows) {
      t.rows = p + strip_rows < conv.rows ? strip_rows : conv.rows - p;
      t.src = image + p * t.src_row;
      int64_t first = 0;
      for (const int channels : channel_tiles) {
        t.diff_dst = diff_strip(first, channels, p, t.rows);
        int64_t tap = 0;
        for (const int taps : tap_tiles) {
          t.offsets = offsets.data() + tap;
          t.sums = sums + first * t.sums_channel + tap * kLanes;
          weights_tile(channels, taps)(t);
          tap += taps;
        }
        first += channels;
      }
    }
  }
};

}  // namespace lockstep::cpu
