// See direct_conv2d.h. The batch is cut into blocks of 16 samples; a block's image, channel by
// channel, and the tile's weights stay in the first cache levels. Per block
//   forward:      dst tiles of (channels, pixels) of one row
//   backward:     masked = diff_dst * f'(dst), once; diff_weights as sums per tap and lane;
//                 diff_src as a forward pass over masked with turned weights
// Lanes of diff_weights are added at the end. Sums run over the blocks of a thread in order,
// then over the threads: equal bits for an equal number of threads.
#include "kernels/cpu/direct_conv2d.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/direct_tiles.h"

namespace lockstep::cpu {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Cuts n into pieces of at most `largest`, as even as possible.
std::vector<int> even_pieces(int64_t n, int64_t largest) {
  const int64_t count = ceil_div(n, largest);
  std::vector<int> pieces(static_cast<size_t>(count), static_cast<int>(n / count));
  for (int64_t i = 0; i < n % count; ++i) ++pieces[static_cast<size_t>(i)];
  return pieces;
}

/// Sixteen images of C channels with a margin of zeros, pixels of 16 floats.
struct LaneImage {
  int64_t channels, height, width;  // without margins
  int64_t top, bottom, left, right;

  int64_t row() const { return (left + width + right) * kLanes; }
  int64_t channel() const { return (top + height + bottom) * row(); }
  int64_t n_floats() const { return channels * channel(); }
  int64_t origin() const { return top * row() + left * kLanes; }  // pixel (0, 0)
  bool has_margin() const { return top + bottom + left + right > 0; }

  void zero_margins(float* data) const {
    const auto zero = [](float* begin, int64_t n) { std::fill_n(begin, n, 0.0f); };
    for (int64_t c = 0; c < channels; ++c, data += channel()) {
      zero(data, top * row());
      for (int64_t y = top; y < top + height; ++y) {
        zero(data + y * row(), left * kLanes);
        zero(data + y * row() + (left + width) * kLanes, right * kLanes);
      }
      zero(data + (top + height) * row(), bottom * row());
    }
  }
};

/// A convolution of lane images with stride and without dilation, and its tiles.
struct LaneConv {
  LaneImage src;
  int64_t dst_channels, rows, columns;  // of dst
  int64_t kernel_h, kernel_w, stride_h, stride_w;
  int64_t pad_top, pad_left;  // tap (0, 0) of pixel (0, 0) is at -pad_top, -pad_left
  std::vector<int> channel_tiles, pixel_tiles;

  void make_tiles() {
    channel_tiles = even_pieces(dst_channels, kMaxTileChannels);
    pixel_tiles = even_pieces(columns, max_tile_pixels(channel_tiles.front()));
  }
  int64_t taps() const { return src.channels * kernel_h * kernel_w; }

  /// get(k, c, i, j) -> (tile, c, i, j, k in tile)
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

  /// dst (K, rows, columns, 16) of one block. `image` is the whole of src, margins included.
  void run(const float* image, const float* packed, const float* bias, bool relu, uint16_t lanes,
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
};

/// The gradient of the weights of a LaneConv.
struct LaneConvWeights {
  static constexpr int64_t kStripFloats = 8 * 1024;  // of diff_dst: 32 KiB, most of a first-level cache
  std::vector<int> channel_tiles, tap_tiles;
  std::vector<int64_t> offsets;  // of each tap (c, i, j) in src
  int64_t strip_rows = 0;

  void make_tiles(const LaneConv& conv) {
    channel_tiles = even_pieces(conv.dst_channels, kMaxWeightsChannels);
    tap_tiles = even_pieces(conv.taps(), kMaxWeightsTaps);
    for (int64_t c = 0; c < conv.src.channels; ++c)
      for (int64_t i = 0; i < conv.kernel_h; ++i)
        for (int64_t j = 0; j < conv.kernel_w; ++j)
          offsets.push_back(c * conv.src.channel() + i * conv.src.row() + j * kLanes);
    const int64_t row_floats = conv.columns * kLanes * channel_tiles.front();
    const int64_t most_rows = std::clamp<int64_t>(kStripFloats / row_floats, 1, conv.rows);
    strip_rows = ceil_div(conv.rows, ceil_div(conv.rows, most_rows));
  }

  /// sums (K, taps, 16) += of one block. `diff` points to pixel (0, 0) of an image of which
  /// `diff_image` tells the distances.
  void run(const LaneConv& conv, const float* image, const float* diff, const LaneImage& diff_image,
           float* sums) const {
    WeightsTile t{};
    t.diff_channel = diff_image.channel();
    t.diff_row = diff_image.row();
    t.src_row = conv.stride_h * conv.src.row();
    t.src_pixel = conv.stride_w * kLanes;
    t.columns = conv.columns;
    t.sums_channel = conv.taps() * kLanes;
    for (int64_t p = 0; p < conv.rows; p += strip_rows) {
      t.rows = std::min(strip_rows, conv.rows - p);
      t.src = image + p * t.src_row;
      t.diff_dst = diff + p * t.diff_row;
      float* tile_sums = sums;
      for (const int channels : channel_tiles) {
        int64_t tap = 0;
        for (const int taps : tap_tiles) {
          t.offsets = offsets.data() + tap;
          t.sums = tile_sums + tap * kLanes;
          weights_tile(channels, taps)(t);
          tap += taps;
        }
        t.diff_dst += channels * t.diff_channel;
        tile_sums += channels * t.sums_channel;
      }
    }
  }
};

Mask mask_of(Activation activation) {
  switch (activation) {
    case Activation::kNone: return Mask::kNone;
    case Activation::kRelu: return Mask::kRelu;
    case Activation::kTanh: return Mask::kTanh;
    case Activation::kSigmoid: return Mask::kSigmoid;
  }
  return Mask::kNone;
}

class DirectConv2dOp : public Op {
 public:
  DirectConv2dOp(const OpConfig& config, const Conv2dDesc& desc)
      : activation_(desc.activation), has_bias_(desc.has_bias), n_parts_(compute_threads()) {
    const Shape& s = desc.src.shape;
    n_ = s[0];
    n_blocks_ = ceil_div(n_, kLanes);
    n_parts_ = std::min<int64_t>(n_parts_, n_blocks_);
    const auto& pad = desc.padding;
    conv_.src = {s[1], s[2], s[3], pad[0], pad[1], pad[2], pad[3]};
    conv_.dst_channels = desc.out_channels;
    conv_.rows = conv_output_extent(s[2], desc.kernel[0], desc.stride[0], 1, pad[0], pad[1]);
    conv_.columns = conv_output_extent(s[3], desc.kernel[1], desc.stride[1], 1, pad[2], pad[3]);
    conv_.kernel_h = desc.kernel[0];
    conv_.kernel_w = desc.kernel[1];
    conv_.stride_h = desc.stride[0];
    conv_.stride_w = desc.stride[1];
    conv_.pad_top = pad[0];
    conv_.pad_left = pad[2];
    conv_.make_tiles();
    weights_floats_ = desc.out_channels * conv_.taps();
    packed_ = Memory(Device{}, weights_floats_ * 4);

    const Shape dst{n_, desc.out_channels, conv_.rows, conv_.columns};
    // A network's input comes dense; a block of it is turned when it is needed.
    src_dense_ = !desc.wants_diff_src && !desc.src.layout;
    info_.src = {src_dense_ ? desc.src : from_onednn(batch_blocked_desc(s), s, DType::kFloat32)};
    info_.dst = {from_onednn(batch_blocked_desc(dst), dst, DType::kFloat32)};
    info_.backward_needs_dst = activation_ != Activation::kNone;
    if (activation_ == Activation::kTanh || activation_ == Activation::kSigmoid) {
      const MemoryDesc data = dense_desc(Shape{info_.dst[0].n_bytes() / 4});
      activate_ = Primitive(eltwise_forward(config.training, algorithm_of(activation_), data),
                            {{DNNL_ARG_SRC, data}, {DNNL_ARG_DST, data}});
    }
    image_floats_ = src_dense_ || conv_.src.has_margin() ? conv_.src.n_floats() : 0;
    info_.scratchpad_bytes = n_parts_ * image_floats_ * 4;
    if (config.training) plan_backward(desc);
  }

  void prepare(Stream&, std::span<const Tensor> params) override {
    const float* w = params[0].as<float>();
    const int64_t kh = conv_.kernel_h, kw = conv_.kernel_w, channels = conv_.src.channels;
    const auto at = [=](int64_t k, int64_t c, int64_t i, int64_t j) {
      return w[((k * channels + c) * kh + i) * kw + j];
    };
    conv_.pack(packed_.as<float>(), at);
    if (packed_turned_.data()) {
      turned_.pack(packed_turned_.as<float>(), [&](int64_t c, int64_t k, int64_t i, int64_t j) {
        return at(k, c, kh - 1 - i, kw - 1 - j);
      });
    }
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const float* bias = has_bias_ ? args.params[1].as<float>() : nullptr;
    float* dst = args.dst[0].as<float>();
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* image = scratch + part * image_floats_;
      if (image_floats_ > 0) conv_.src.zero_margins(image);
      for (int64_t block = begin; block < end; ++block) {
        conv_.run(image_of(args.src[0].as<float>(), block, image), packed_.as<float>(), bias,
                  activation_ == Activation::kRelu, lanes_of(block), dst + block * dst_floats());
      }
    });
    if (activate_) activate_.run(stream, {dst, dst});
    if (activate_ && n_ % kLanes != 0) clear_unused_lanes(dst + (n_blocks_ - 1) * dst_floats());
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* diff_dst = args.diff_dst[0].as<float>();
    const float* dst = info_.backward_needs_dst ? args.dst[0].as<float>() : nullptr;
    const bool wants_src = packed_turned_.data() && !args.diff_src.empty() && !args.diff_src[0].empty();
    float* diff_src = wants_src ? args.diff_src[0].as<float>() : nullptr;
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* image = scratch + part * part_floats_;
      float* masked = image + image_floats_;
      float* sums = masked + turned_.src.n_floats();
      if (image_floats_ > 0) conv_.src.zero_margins(image);
      turned_.src.zero_margins(masked);
      std::fill_n(sums, sums_floats_, 0.0f);
      for (int64_t block = begin; block < end; ++block) {
        mask_block(dst ? dst + block * dst_floats() : nullptr, diff_dst + block * dst_floats(), masked,
                   sums + weights_floats_ * kLanes);
        weights_.run(conv_, image_of(src, block, image), masked + turned_.src.origin(), turned_.src, sums);
        if (diff_src) {
          turned_.run(masked, packed_turned_.as<float>(), nullptr, false, 0xffff,
                      diff_src + block * src_floats());
        }
      }
    });
    float* diff_bias = has_bias_ ? args.diff_params[1].as<float>() : nullptr;
    add_parts(scratch + image_floats_ + turned_.src.n_floats(), args.diff_params[0].as<float>(), diff_bias);
  }

 private:
  int64_t src_floats() const { return conv_.src.channels * conv_.src.height * conv_.src.width * kLanes; }
  int64_t dst_floats() const { return conv_.dst_channels * conv_.rows * conv_.columns * kLanes; }
  int rows_of(int64_t block) const {
    return static_cast<int>(std::min<int64_t>(kLanes, n_ - block * kLanes));
  }
  uint16_t lanes_of(int64_t block) const { return static_cast<uint16_t>((1 << rows_of(block)) - 1); }

  void plan_backward(const Conv2dDesc& desc) {
    weights_.make_tiles(conv_);
    // diff_src is a convolution of the masked gradient with the kernel turned by half a circle.
    // Rows outside the image are left out by run(), columns read a margin of zeros.
    const bool wants_src = desc.wants_diff_src;
    const int64_t top = wants_src ? desc.kernel[0] - 1 - desc.padding[0] : 0;
    const int64_t left = wants_src ? desc.kernel[1] - 1 - desc.padding[2] : 0;
    const int64_t right = wants_src ? desc.kernel[1] - 1 - desc.padding[3] : 0;
    turned_.src = {conv_.dst_channels, conv_.rows, conv_.columns, 0, 0, left, right};
    if (wants_src) {
      turned_.dst_channels = conv_.src.channels;
      turned_.rows = conv_.src.height;
      turned_.columns = conv_.src.width;
      turned_.kernel_h = conv_.kernel_h;
      turned_.kernel_w = conv_.kernel_w;
      turned_.stride_h = turned_.stride_w = 1;
      turned_.pad_top = top;
      turned_.pad_left = left;
      turned_.make_tiles();
      packed_turned_ = Memory(Device{}, weights_floats_ * 4);
    }
    sums_floats_ = (weights_floats_ + conv_.dst_channels) * kLanes;
    part_floats_ = image_floats_ + turned_.src.n_floats() + sums_floats_;
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, n_parts_ * part_floats_ * 4);
  }

  /// Cuts the blocks into n_parts_ ranges, whatever the size of the team that OpenMP grants.
  template <typename F>
  void for_parts(const F& f) const {
    if (n_parts_ == 1) return f(0, 0, n_blocks_);
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(n_parts_))
    for (int64_t part = 0; part < n_parts_; ++part) {
      f(part, part * n_blocks_ / n_parts_, (part + 1) * n_blocks_ / n_parts_);
    }
  }

  /// One block of src with its margins: in place if it has none, else copied into `image`.
  const float* image_of(const float* src, int64_t block, float* image) const {
    const LaneImage& s = conv_.src;
    if (image_floats_ == 0) return src + block * src_floats();
    const int64_t plane = s.height * s.width;
    for (int64_t c = 0; c < s.channels; ++c) {
      float* target = image + c * s.channel() + s.origin();
      const bool whole = s.left + s.right == 0;  // rows follow each other
      const int64_t pieces = whole ? 1 : s.height, length = whole ? plane : s.width;
      for (int64_t piece = 0; piece < pieces; ++piece) {
        float* to = target + piece * s.row();
        if (src_dense_) {
          const int64_t sample = s.channels * plane;
          to_lanes(length, rows_of(block), src + block * kLanes * sample + c * plane + piece * length, sample,
                   to);
        } else {
          std::memcpy(to, src + block * src_floats() + (c * plane + piece * length) * kLanes,
                      static_cast<size_t>(length * kLanes) * sizeof(float));
        }
      }
    }
    return image;
  }

  /// masked = diff_dst * f'(dst) of one block, and its sums per channel for the bias.
  void mask_block(const float* dst, const float* diff_dst, float* masked, float* bias_sums) const {
    const LaneImage& image = turned_.src;
    const bool whole = image.left + image.right == 0;
    const int64_t pieces = whole ? 1 : image.height,
                  length = whole ? image.height * image.width : image.width;
    for (int64_t k = 0; k < image.channels; ++k) {
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t offset = (k * image.height * image.width + piece * length) * kLanes;
        mask_pixels(length, mask_of(activation_), dst ? dst + offset : nullptr, diff_dst + offset,
                    masked + k * image.channel() + image.origin() + piece * image.row(),
                    bias_sums + k * kLanes);
      }
    }
  }

  /// Adds the sums of all parts in order, then their lanes.
  void add_parts(float* sums, float* diff_weights, float* diff_bias) const {
    for (int64_t part = 1; part < n_parts_; ++part) {
      const float* more = sums + part * part_floats_;
      for (int64_t i = 0; i < sums_floats_; ++i) sums[i] += more[i];
    }
    add_lanes(weights_floats_, sums, diff_weights);
    if (diff_bias) add_lanes(conv_.dst_channels, sums + weights_floats_ * kLanes, diff_bias);
  }

  void clear_unused_lanes(float* block) const {
    for (int64_t i = 0; i < dst_floats(); i += kLanes) {
      std::fill(block + i + n_ % kLanes, block + i + kLanes, 0.0f);
    }
  }

  Activation activation_;
  bool has_bias_, src_dense_ = false;
  int64_t n_parts_, n_ = 0, n_blocks_ = 0;
  LaneConv conv_, turned_;
  LaneConvWeights weights_;
  Memory packed_, packed_turned_;
  Primitive activate_;
  int64_t weights_floats_ = 0, image_floats_ = 0, sums_floats_ = 0, part_floats_ = 0;
};

}  // namespace

bool prefers_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  const int64_t n = desc.src.shape[0], c = desc.src.shape[1], k = desc.out_channels;
  const auto rounded_up = [](int64_t value) { return ceil_div(value, 16) * 16; };
  if (!have_direct_tiles() || config.device.kind != Device::Kind::kCpu) return false;
  if (desc.groups != 1 || desc.dilation != std::array<int64_t, 2>{1, 1}) return false;
  if (config.training && desc.wants_diff_src) {
    if (desc.stride != std::array<int64_t, 2>{1, 1}) return false;
    for (int i = 0; i < 4; ++i) {
      if (desc.padding[i] > desc.kernel[i / 2] - 1) return false;
    }
  }
  // Sums per tap and lane must stay in the second cache level.
  if (k * c * desc.kernel[0] * desc.kernel[1] * kLanes * 4 > (1 << 20)) return false;
  // Work including what fills the blocks, of samples here and of channels there (oneDNN does not
  // block the few channels of images). The factor is what the libraries' kernels are ahead.
  const double here = static_cast<double>(rounded_up(n) * c * k);
  const double there = static_cast<double>(n * (c <= 3 ? c : rounded_up(c)) * rounded_up(k));
  return here * 1.2 < there;
}

std::unique_ptr<Op> make_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  return std::make_unique<DirectConv2dOp>(config, desc);
}

}  // namespace lockstep::cpu
