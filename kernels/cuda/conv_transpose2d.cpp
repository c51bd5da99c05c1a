// Transposed convolution on GPUs, channels-last: the convolution that it turns round has our dst as its
// src. Forward is that one's data gradient, diff_src its forward pass, and diff_weights its weight
// gradient of diff_dst and src. Bias and activation run in place behind the forward pass.
#include "kernels/conv_transpose2d.h"

#include <algorithm>
#include <optional>

#include "kernels/backend.h"
#include "kernels/cuda/convolution_gradients.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/layouts.h"

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
          .tf32 = config.tf32,
          .workspace_limit = config.convolution_workspace_bytes};
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
    info_.backward_needs_dst = desc.activation != Activation::kNone;
    info_.scratchpad_bytes = forward_->workspace_bytes();
    if (!config.training) return;
    gradients_.emplace(config, shape_, weights_,
                       ConvolutionGradients::Output{pixels(), shape_.c, desc.has_bias, desc.activation},
                       desc.wants_diff_src, /*transposed=*/true);
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, gradients_->scratchpad_bytes());
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

  void backward(Stream& stream, const OpArgs& args) override { gradients_->run(stream, args); }

 private:
  int64_t pixels() const { return shape_.n * shape_.h * shape_.w; }  // of dst

  ConvTranspose2dDesc desc_;
  ConvolutionDesc shape_;
  ConvolutionWeights weights_;
  std::unique_ptr<Convolution> forward_;
  std::optional<ConvolutionGradients> gradients_;
};

}  // namespace

std::unique_ptr<Op> make_conv_transpose2d(const OpConfig& config, const ConvTranspose2dDesc& desc) {
  return std::make_unique<ConvTranspose2dOp>(config, desc);
}

}  // namespace lockstep::cuda
