// See direct_conv2d.h. The batch is cut into blocks of 16 samples; a block's image, channel by
// channel, and the tile's weights stay in the first cache levels. Per block
//   forward:      dst tiles of (channels, pixels) of one row
//   backward:     masked = diff_dst * f'(dst), once; diff_weights as sums per tap and lane;
//                 diff_src as a forward pass over masked with turned weights
// Lanes of diff_weights are added at the end. Sums run over the blocks of a thread in order,
// then over the threads: equal bits for an equal number of threads.
#include "kernels/cpu/direct_conv2d.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/direct_tiles.h"
#include "kernels/cpu/lane_conv.h"

namespace lockstep::cpu {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Mask mask_of(Activation activation) {
  switch (activation) {
    case Activation::kNone: return Mask::kNone;
    case Activation::kRelu: return Mask::kRelu;
    case Activation::kRelu6: return Mask::kRelu6;
    case Activation::kTanh: return Mask::kTanh;
    case Activation::kSigmoid: return Mask::kSigmoid;
  }
  return Mask::kNone;
}

class DirectConv2dOp : public Op {
 public:
  DirectConv2dOp(const OpConfig& config, const Conv2dDesc& desc)
      : activation_(desc.activation), has_bias_(desc.has_bias) {
    const Shape& s = desc.src.shape;
    const auto& pad = desc.padding;
    n_ = s[0];
    n_blocks_ = ceil_div(n_, kLanes);
    n_parts_ = std::min<int64_t>(compute_threads(), n_blocks_);
    conv_ = {.src = {s[1], s[2], s[3], pad[0], pad[1], pad[2], pad[3]},
             .dst_channels = desc.out_channels,
             .rows = conv_output_extent(s[2], desc.kernel[0], desc.stride[0], 1, pad[0], pad[1]),
             .columns = conv_output_extent(s[3], desc.kernel[1], desc.stride[1], 1, pad[2], pad[3]),
             .kernel_h = desc.kernel[0],
             .kernel_w = desc.kernel[1],
             .stride_h = desc.stride[0],
             .stride_w = desc.stride[1],
             .pad_top = pad[0],
             .pad_left = pad[2]};
    conv_.make_tiles();
    weights_floats_ = desc.out_channels * conv_.taps();
    packed_ = Memory(Device{}, weights_floats_ * 4);

    const Shape dst{n_, desc.out_channels, conv_.rows, conv_.columns};
    // A network's input comes dense; a block of it is turned when it is needed.
    src_dense_ = !desc.wants_diff_src && !desc.src.layout;
    info_.src = {src_dense_ ? desc.src : from_onednn(batch_blocked_desc(s), s, DType::kFloat32)};
    info_.dst = {from_onednn(batch_blocked_desc(dst), dst, DType::kFloat32)};
    info_.backward_needs_dst = activation_ != Activation::kNone;
    if (activation_ != Activation::kNone && activation_ != Activation::kRelu) {
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
    if (!has_diff_src_) return;
    turned_.pack(packed_turned_.as<float>(), [&](int64_t c, int64_t k, int64_t i, int64_t j) {
      return at(k, c, kh - 1 - i, kw - 1 - j);
    });
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* bias = has_bias_ ? args.params[1].as<float>() : nullptr;
    float* dst = args.dst[0].as<float>();
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* image = scratch + part * image_floats_;
      if (image_floats_ > 0) conv_.src.zero_margins(image);
      for (int64_t block = begin; block < end; ++block) {
        conv_.run(image_of(src, block, image), packed_.as<float>(), bias, activation_ == Activation::kRelu,
                  first_lanes(n_ - block * kLanes), dst + block * conv_.dst_floats());
      }
    });
    if (!activate_) return;
    activate_.run(stream, {dst, dst});
    if (n_ % kLanes != 0) clear_unused_lanes(dst + (n_blocks_ - 1) * conv_.dst_floats());
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* dst = activation_ != Activation::kNone ? args.dst[0].as<float>() : nullptr;
    const float* diff_dst = args.diff_dst[0].as<float>();
    const bool wants_src = has_diff_src_ && !args.diff_src.empty() && !args.diff_src[0].empty();
    float* diff_src = wants_src ? args.diff_src[0].as<float>() : nullptr;
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* image = scratch + part * part_floats_;
      float* masked = image + image_floats_;
      float* sums = masked + masked_floats_;
      if (image_floats_ > 0) conv_.src.zero_margins(image);
      if (has_diff_src_) turned_.src.zero_margins(masked);
      std::fill_n(sums, sums_floats_, 0.0f);
      for (int64_t block = begin; block < end; ++block) {
        const int64_t offset = block * conv_.dst_floats();
        backward_weights(image_of(src, block, image), dst ? dst + offset : nullptr, diff_dst + offset, masked,
                         sums);
        if (diff_src) {
          turned_.run(masked, packed_turned_.as<float>(), nullptr, false, 0xffff,
                      diff_src + block * src_floats());
        }
      }
    });
    add_parts(scratch + image_floats_ + masked_floats_, args.diff_params[0].as<float>(),
              has_bias_ ? args.diff_params[1].as<float>() : nullptr);
  }

 private:
  int64_t src_floats() const { return conv_.src.channels * conv_.src.height * conv_.src.width * kLanes; }

  void plan_backward(const Conv2dDesc& desc) {
    weights_.make_tiles(conv_);
    has_diff_src_ = desc.wants_diff_src;
    if (has_diff_src_) {
      // A convolution of the masked gradient with the kernel turned by half a circle. Rows
      // outside the image are left out by run(), columns read a margin of zeros.
      const int64_t left = desc.kernel[1] - 1 - desc.padding[2], right = desc.kernel[1] - 1 - desc.padding[3];
      turned_ = {.src = {conv_.dst_channels, conv_.rows, conv_.columns, 0, 0, left, right},
                 .dst_channels = conv_.src.channels,
                 .rows = conv_.src.height,
                 .columns = conv_.src.width,
                 .kernel_h = conv_.kernel_h,
                 .kernel_w = conv_.kernel_w,
                 .stride_h = 1,
                 .stride_w = 1,
                 .pad_top = desc.kernel[0] - 1 - desc.padding[0],
                 .pad_left = left};
      turned_.make_tiles();
      packed_turned_ = Memory(Device{}, weights_floats_ * 4);
      masked_floats_ = turned_.src.n_floats();
    } else {
      masked_floats_ = weights_.max_tile_channels() * weights_.strip_rows * conv_.columns * kLanes;
    }
    sums_floats_ = (weights_floats_ + conv_.dst_channels) * kLanes;
    part_floats_ = image_floats_ + masked_floats_ + sums_floats_;
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, n_parts_ * part_floats_ * 4);
  }

  /// Cuts the blocks into n_parts_ ranges, whatever the size of the team that OpenMP grants.
  template <typename F>
  void for_parts(const F& f) const {
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(n_parts_)) if (n_parts_ > 1)
    for (int64_t part = 0; part < n_parts_; ++part) {
      f(part, part * n_blocks_ / n_parts_, (part + 1) * n_blocks_ / n_parts_);
    }
  }

  /// One block of src with its margins: in place if it has none, else copied into `image`.
  const float* image_of(const float* src, int64_t block, float* image) const {
    const LaneImage& s = conv_.src;
    if (image_floats_ == 0) return src + block * src_floats();
    const int64_t plane = s.height * s.width, sample = s.channels * plane;
    const int n_samples = static_cast<int>(std::min<int64_t>(kLanes, n_ - block * kLanes));
    const bool whole = s.left + s.right == 0;  // rows follow each other
    const int64_t pieces = whole ? 1 : s.height, length = whole ? plane : s.width;
    for (int64_t c = 0; c < s.channels; ++c) {
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t pixel = c * plane + piece * length;
        float* to = image + c * s.channel() + s.origin() + piece * s.row();
        if (src_dense_) {
          to_lanes(length, n_samples, src + block * kLanes * sample + pixel, sample, to);
        } else {
          std::memcpy(to, src + block * src_floats() + pixel * kLanes,
                      static_cast<size_t>(length * kLanes) * sizeof(float));
        }
      }
    }
    return image;
  }

  /// Adds one block to the sums of weights and bias. A strip of diff_dst is masked just before it
  /// is read: into its place in the whole image where diff_src needs that too.
  void backward_weights(const float* image, const float* dst, const float* diff_dst, float* masked,
                        float* sums) const {
    const int64_t plane = conv_.rows * conv_.columns * kLanes;
    const int64_t strip = weights_.strip_rows * conv_.columns * kLanes;
    const LaneImage& whole = turned_.src;
    const int64_t row = has_diff_src_ ? whole.row() : conv_.columns * kLanes;
    const int64_t channel = has_diff_src_ ? whole.channel() : strip;
    float* bias_sums = sums + weights_floats_ * kLanes;
    const auto mask_strip = [&](int64_t first, int channels, int64_t p, int64_t rows) {
      float* target = masked + (has_diff_src_ ? first * channel + whole.origin() + p * row : 0);
      const bool joined = row == conv_.columns * kLanes;  // rows follow each other
      const int64_t pieces = joined ? 1 : rows, length = conv_.columns * (joined ? rows : 1);
      for (int64_t k = 0; k < channels; ++k) {
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const int64_t offset = (first + k) * plane + (p * conv_.columns + piece * length) * kLanes;
          mask_pixels(length, mask_of(activation_), dst ? dst + offset : nullptr, diff_dst + offset,
                      target + k * channel + piece * row, bias_sums + (first + k) * kLanes);
        }
      }
      return static_cast<const float*>(target);
    };
    weights_.run(conv_, image, row, channel, mask_strip, sums);
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
    for (int64_t i = 0; i < conv_.dst_floats(); i += kLanes) {
      std::fill(block + i + n_ % kLanes, block + i + kLanes, 0.0f);
    }
  }

  Activation activation_;
  bool has_bias_, src_dense_ = false, has_diff_src_ = false;
  int64_t n_ = 0, n_blocks_ = 0, n_parts_ = 1;
  LaneConv conv_{}, turned_{};
  LaneConvWeights weights_;
  Memory packed_, packed_turned_;
  Primitive activate_;
  int64_t weights_floats_ = 0, image_floats_ = 0, masked_floats_ = 0, sums_floats_ = 0, part_floats_ = 0;
};

}  // namespace

bool prefers_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  const int64_t n = desc.src.shape[0], c = desc.src.shape[1], k = desc.out_channels;
  const auto rounded_up = [](int64_t value) { return ceil_div(value, 16) * 16; };
  if (!have_direct_tiles()) return false;
  if (desc.groups != 1 || desc.dilation != std::array<int64_t, 2>{1, 1}) return false;
  if (config.training && desc.wants_diff_src) {
    if (desc.stride != std::array<int64_t, 2>{1, 1}) return false;
    for (size_t i = 0; i < 4; ++i) {
      if (desc.padding[i] > desc.kernel[i / 2] - 1) return false;
    }
  }
  // Sums per tap and lane must stay in the second cache level.
  if (k * c * desc.kernel[0] * desc.kernel[1] * kLanes * 4 > (1 << 20)) return false;
  // Work including what fills the blocks, of samples here and of channels there (oneDNN does not
  // block the few channels of images). The factor is what the library's kernels are ahead.
  const double here = static_cast<double>(rounded_up(n) * c * k);
  const double there = static_cast<double>(n * (c <= 3 ? c : rounded_up(c)) * rounded_up(k));
  return here * 1.2 < there;
}

std::unique_ptr<Op> make_direct_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  return std::make_unique<DirectConv2dOp>(config, desc);
}

}  // namespace lockstep::cpu
