// Transposed convolution on GPUs, channels-last: the convolution that it turns round has our dst as its
// src. Forward is that one's data gradient, diff_src its forward pass, and diff_weights its weight
// gradient of diff_dst and src. Bias and activation run in place behind the forward pass.
#include "kernels/conv_transpose2d.h"

#include <algorithm>
#include <optional>

#include "kernels/backend.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

namespace {

using Pass = Convolution::Pass;

/// The convolution from dst to src. output_padding is below the stride, so its extents come out as those
/// of src: rows that it adds behind the last tap are read by no place.
ConvolutionDesc convolution_of(const OpConfig& config, const ConvTranspose2dDesc& d) {
  const Shape& src = d.src.shape;
  const auto extent = [&](int i) {
    return conv_transpose_output_extent(src[2 + i], d.kernel[i], d.stride[i], d.dilation[i], d.padding[2 * i],
                                        d.padding[2 * i + 1], d.output_padding[i]);
  };
  return {.n = src[0],
          .c = d.out_channels,
          .h = extent(0),
          .w = extent(1),
          .k = src[1],
          .p = src[2],
          .q = src[3],
          .kernel = d.kernel,
          .stride = d.stride,
          .dilation = d.dilation,
          .padding = d.padding,
          .groups = d.groups,
          .dtype = config.compute,
          .tf32 = config.tf32};
}

class ConvTranspose2dOp : public Op {
 public:
  ConvTranspose2dOp(const OpConfig& config, const ConvTranspose2dDesc& desc)
      : desc_(desc),
        shape_(convolution_of(config, desc)),
        weights_(config, shape_),
        forward_(make_convolution(config.device, Pass::kBackwardData, shape_)) {
    info_.src = {channels_last({desc.src.shape, shape_.dtype, nullptr})};
    info_.dst = {channels_last({Shape{shape_.n, shape_.c, shape_.h, shape_.w}, shape_.dtype, nullptr})};
    info_.backward_needs_dst = masks();
    info_.scratchpad_bytes = forward_->workspace_bytes();
    if (config.training) make_backward(config);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    weights_.prepare(stream, params[0]);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    forward_->run(stream, args.dst[0].data, weights_.data(args.params[0]), nullptr, args.src[0].data,
                  args.scratchpad);
    const float* bias = desc_.has_bias ? args.params[1].as<const float>() : nullptr;
    add_bias(stream, shape_.dtype, desc_.activation, pixels(), shape_.c, bias, args.dst[0].data);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    void* diff_dst = args.diff_dst[0].data;
    std::byte* masked = args.scratchpad + masked_;
    std::byte* rest = args.scratchpad + rest_;
    float* diff_bias = desc_.has_bias ? args.diff_params[1].as<float>() : nullptr;
    backward_epilogue(stream, shape_.dtype, desc_.activation, pixels(), shape_.c, args.dst[0].data, diff_dst,
                      masked, diff_bias, rest);
    if (masks()) diff_dst = masked;
    diff_weights_->run(stream, diff_dst, args.src[0].data, args.diff_params[0].as<float>(), rest);
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    diff_src_->run(stream, diff_dst, weights_.data(args.params[0]), nullptr, args.diff_src[0].data, rest);
  }

 private:
  bool masks() const { return desc_.activation != Activation::kNone; }
  int64_t pixels() const { return shape_.n * shape_.h * shape_.w; }  // of dst

  void make_backward(const OpConfig& config) {
    diff_weights_.emplace(config.device, shape_, weights_);
    int64_t rest =
        std::max(diff_weights_->scratch_bytes(), backward_epilogue_bytes(desc_.has_bias, pixels(), shape_.c));
    if (desc_.wants_diff_src) {
      diff_src_ = make_convolution(config.device, Pass::kForward, shape_);
      rest = std::max(rest, diff_src_->workspace_bytes());
    }
    Scratch scratch;
    masked_ = scratch.take(masks() ? info_.dst[0].n_bytes() : 0);
    rest_ = scratch.take(rest);
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, scratch.n_bytes());
  }

  ConvTranspose2dDesc desc_;
  ConvolutionDesc shape_;
  ConvolutionWeights weights_;
  std::unique_ptr<Convolution> forward_, diff_src_;
  std::optional<WeightsGradient> diff_weights_;
  int64_t masked_ = 0, rest_ = 0;  // of the backward pass, in the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_conv_transpose2d(const OpConfig& config, const ConvTranspose2dDesc& desc) {
  return std::make_unique<ConvTranspose2dOp>(config, desc);
}

}  // namespace lockstep::cuda
