// Locally connected layer on the CPU: one matrix product per place of dst, over the batch. The
// windows of all samples at a place are gathered into a matrix (N, C * kh * kw) first. Places run
// in row-major order, so that the sums of diff_src have a fixed order.
#include "kernels/local_conv2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

class LocalConv2dOp : public Op {
 public:
  explicit LocalConv2dOp(const LocalConv2dDesc& d) : desc_(d), src_(d.src.shape) {
    const auto extent = [&](int i) {
      return conv_output_extent(src_[2 + i], d.kernel[i], d.stride[i], 1, d.padding[2 * i],
                                d.padding[2 * i + 1]);
    };
    dst_ = Shape{src_[0], d.out_channels, extent(0), extent(1)};
    window_ = src_[1] * d.kernel[0] * d.kernel[1];
    info_.src = {d.src.dense()};
    info_.dst = {{dst_}};
    info_.backward_needs_dst = false;
    // Windows and their gradient share one matrix.
    values_offset_ = (src_[0] * window_ + 15) / 16 * 16;
    info_.scratchpad_bytes = (values_offset_ + src_[0] * d.out_channels) * 4;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    const float* weights = args.params[0].as<const float>();
    const float* bias = desc_.has_bias ? args.params[1].as<const float>() : nullptr;
    float* dst = args.dst[0].as<float>();
    float* windows = reinterpret_cast<float*>(args.scratchpad);
    float* values = windows + values_offset_;
    const int64_t n = src_[0], k = dst_[1], places = dst_[2] * dst_[3];
    for (int64_t place = 0; place < places; ++place) {
      gather(src, place, windows);
      multiply('N', 'T', n, k, window_, windows, weights + place * k * window_, values);
      for (int64_t i = 0; i < n * k; ++i)
        dst[i * places + place] = values[i] + (bias ? bias[i % k * places + place] : 0.0f);
    }
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    const float* weights = args.params[0].as<const float>();
    const float* diff_dst = args.diff_dst[0].as<const float>();
    float* diff_weights = args.diff_params[0].as<float>();
    float* diff_src = args.diff_src.empty() ? nullptr : args.diff_src[0].as<float>();
    float* windows = reinterpret_cast<float*>(args.scratchpad);
    float* values = windows + values_offset_;
    const int64_t n = src_[0], k = dst_[1], places = dst_[2] * dst_[3];
    if (desc_.has_bias) sum_samples(diff_dst, args.diff_params[1].as<float>());
    if (diff_src) std::fill_n(diff_src, src_.n_elements(), 0.0f);
    for (int64_t place = 0; place < places; ++place) {
      for (int64_t i = 0; i < n * k; ++i) values[i] = diff_dst[i * places + place];
      gather(src, place, windows);
      multiply('T', 'N', k, window_, n, values, windows, diff_weights + place * k * window_);
      if (!diff_src) continue;
      multiply('N', 'N', n, window_, k, values, weights + place * k * window_, windows);
      for_window(place, [&](int64_t pixel, int64_t tap) {
        for (int64_t i = 0; i < n; ++i) diff_src[i * sample() + pixel] += windows[i * window_ + tap];
      });
    }
  }

 private:
  int64_t sample() const { return src_[1] * src_[2] * src_[3]; }

  /// visit(pixel of a sample, element of a window) for the part of a window that lies inside src.
  template <typename Visit>
  void for_window(int64_t place, const Visit& visit) const {
    const int64_t top = place / dst_[3] * desc_.stride[0] - desc_.padding[0];
    const int64_t left = place % dst_[3] * desc_.stride[1] - desc_.padding[2];
    int64_t tap = 0;
    for (int64_t c = 0; c < src_[1]; ++c)
      for (int64_t y = top; y < top + desc_.kernel[0]; ++y)
        for (int64_t x = left; x < left + desc_.kernel[1]; ++x, ++tap)
          if (y >= 0 && y < src_[2] && x >= 0 && x < src_[3]) visit((c * src_[2] + y) * src_[3] + x, tap);
  }

  void gather(const float* src, int64_t place, float* windows) const {
    const bool padded = *std::max_element(desc_.padding.begin(), desc_.padding.end()) > 0;
    if (padded) std::fill_n(windows, src_[0] * window_, 0.0f);
    for_window(place, [&](int64_t pixel, int64_t tap) {
      for (int64_t i = 0; i < src_[0]; ++i) windows[i * window_ + tap] = src[i * sample() + pixel];
    });
  }

  /// diff_bias (K, P, Q), samples in order.
  void sum_samples(const float* diff_dst, float* diff_bias) const {
    const int64_t n_elements = dst_.n_elements() / dst_[0];
    std::copy_n(diff_dst, n_elements, diff_bias);
    for (int64_t i = 1; i < dst_[0]; ++i)
      for (int64_t e = 0; e < n_elements; ++e) diff_bias[e] += diff_dst[i * n_elements + e];
  }

  LocalConv2dDesc desc_;
  Shape src_, dst_;
  int64_t window_ = 0;         // elements that a place reads of one sample
  int64_t values_offset_ = 0;  // floats into the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_local_conv2d(const OpConfig& config, const LocalConv2dDesc& desc) {
  if (config.compute == DType::kFloat32) return std::make_unique<LocalConv2dOp>(desc);
  LocalConv2dDesc wide = desc;
  wide.src = as_float32(desc.src);
  return through_float32(cpu::make_local_conv2d(as_float32(config), wide), Weights::kBFloat16);
}

}  // namespace lockstep::cpu
