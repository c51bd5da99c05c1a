// See lane_conv.h.
#include "kernels/cpu/lane_conv.h"

#include <algorithm>

namespace lockstep::cpu {

namespace {

constexpr int64_t kStripFloats = 8 * 1024;  // of diff_dst: 32 KiB, most of a first-level cache

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Cuts n into pieces of at most `largest`, as even as possible, larger ones first.
std::vector<int> even_pieces(int64_t n, int64_t largest) {
  const int64_t count = quotient_up(n, largest);
  std::vector<int> pieces(static_cast<size_t>(count), static_cast<int>(n / count));
  for (int64_t i = 0; i < n % count; ++i) ++pieces[static_cast<size_t>(i)];
  return pieces;
}

}  // namespace

void LaneImage::zero_margins(float* image) const {
  const auto zero = [](float* begin, int64_t n) { std::fill_n(begin, n, 0.0f); };
  for (int64_t c = 0; c < channels; ++c, image += channel()) {
    zero(image, top * row());
    for (int64_t y = top; y < top + height; ++y) {
      zero(image + y * row(), left * kLanes);
      zero(image + y * row() + (left + width) * kLanes, right * kLanes);
    }
    zero(image + (top + height) * row(), bottom * row());
  }
}

void LaneConv::make_tiles() {
  channel_tiles = even_pieces(dst_channels, kMaxTileChannels);
  // With a margin, narrow tiles leave out more of the taps that touch nothing but zeros.
  const int narrow = src.left + src.right > 0 ? 3 : kMaxTilePixels;
  pixel_tiles = even_pieces(columns, std::min(narrow, max_tile_pixels(channel_tiles.front())));
}

void LaneConv::run(const float* image, const float* packed, const float* bias, bool relu, uint16_t lanes,
                   float* dst) const {
  ConvTile t{};
  t.src_channel = src.channel();
  t.src_row = src.row();
  t.src_pixel = stride_w * kLanes;
  t.src_channels = src.channels;
  t.kernel_h = kernel_h;
  t.kernel_w = kernel_w;
  t.weights = packed;
  t.bias = bias;
  t.relu = relu;
  t.lanes = lanes;
  t.dst_channel = rows * columns * kLanes;
  for (const int channels : channel_tiles) {
    for (int64_t p = 0; p < rows; ++p) {
      const int64_t y = p * stride_h - pad_top;  // of tap row 0, in the image
      t.i_begin = std::clamp<int64_t>(-y, 0, kernel_h);
      t.i_end = std::clamp<int64_t>(src.height - y, t.i_begin, kernel_h);
      int64_t q = 0;
      for (const int pixels : pixel_tiles) {
        const int64_t x = q * stride_w - pad_left, last_x = x + (pixels - 1) * stride_w;
        t.j_begin = std::clamp<int64_t>(-last_x, 0, kernel_w);
        t.j_end = std::clamp<int64_t>(src.width - x, t.j_begin, kernel_w);
        t.src = image + src.origin() + y * src.row() + x * kLanes;
        t.dst = dst + (p * columns + q) * kLanes;
        conv_tile(channels, pixels)(t);
        q += pixels;
      }
    }
    t.weights += channels * taps();
    if (bias) t.bias += channels;
    dst += channels * t.dst_channel;
  }
}

void LaneConvWeights::make_tiles(const LaneConv& conv) {
  channel_tiles = even_pieces(conv.dst_channels, kMaxWeightsChannels);
  tap_tiles = even_pieces(conv.taps(), max_tile_taps(channel_tiles.front()));
  for (int64_t c = 0; c < conv.src.channels; ++c)
    for (int64_t i = 0; i < conv.kernel_h; ++i)
      for (int64_t j = 0; j < conv.kernel_w; ++j)
        offsets.push_back(c * conv.src.channel() + i * conv.src.row() + j * kLanes);
  const int64_t row_floats = conv.columns * kLanes * channel_tiles.front();
  const int64_t most_rows = std::clamp<int64_t>(kStripFloats / row_floats, 1, conv.rows);
  strip_rows = quotient_up(conv.rows, quotient_up(conv.rows, most_rows));
}

}  // namespace lockstep::cpu
