// Convolution on GPUs, channels-last. Bias and relu are part of the pass where that is to be had,
// else they run in place behind it, as the other activations do.
#include "kernels/conv2d.h"

#include <algorithm>
#include <optional>

#include "kernels/backend.h"
#include "kernels/cuda/convolution_gradients.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/pack_weights.h"

namespace lockstep::cuda {

namespace {

using Pass = Convolution::Pass;

ConvolutionDesc convolution_of(const OpConfig& config, const Conv2dDesc& d) {
  const Shape& src = d.src.shape;
  const auto extent = [&](int i) {
    return conv_output_extent(src[2 + i], d.kernel[i], d.stride[i], d.dilation[i], d.padding[2 * i],
                              d.padding[2 * i + 1]);
  };
  return {.n = src[0],
          .c = src[1],
          .h = src[2],
          .w = src[3],
          .k = d.out_channels,
          .p = extent(0),
          .q = extent(1),
          .kernel = d.kernel,
          .stride = d.stride,
          .dilation = d.dilation,
          .padding = d.padding,
          .groups = d.groups,
          .dtype = config.compute,
          .tf32 = config.tf32,
          .workspace_limit = config.convolution_workspace_bytes};
}

/// The pass with as much of the epilogue as is to be had, and what is left of it.
struct Forward {
  std::unique_ptr<Convolution> pass;
  bool bias_inside = false;
  Activation behind = Activation::kNone;

  Forward(Device device, const ConvolutionDesc& desc, bool has_bias, Activation activation) {
    const bool relu = activation == Activation::kRelu;
    const Pass with_bias = relu ? Pass::kForwardBiasRelu : Pass::kForwardBias;
    const Pass without = relu ? Pass::kForwardRelu : Pass::kForward;
    pass = make_convolution(device, has_bias ? with_bias : without, desc);
    bias_inside = has_bias && pass;
    behind = relu && pass ? Activation::kNone : activation;
    if (!pass) pass = make_convolution(device, Pass::kForward, desc);
  }
};

class Conv2dOp : public Op {
 public:
  Conv2dOp(const OpConfig& config, const Conv2dDesc& desc)
      : desc_(desc),
        shape_(convolution_of(config, desc)),
        weights_(config, shape_),
        forward_(config.device, shape_, desc.has_bias, desc.activation) {
    info_.src = {channels_last({desc.src.shape, shape_.dtype, nullptr})};
    info_.dst = {channels_last({Shape{shape_.n, shape_.k, shape_.p, shape_.q}, shape_.dtype, nullptr})};
    info_.backward_needs_dst = desc.activation != Activation::kNone;
    info_.scratchpad_bytes = forward_.pass->workspace_bytes();
    if (forward_.bias_inside && shape_.dtype != DType::kFloat32)
      bias_ = Memory(config.device, shape_.k * size_of(shape_.dtype));
    if (!config.training) return;
    gradients_.emplace(config, shape_, weights_,
                       ConvolutionGradients::Output{pixels(), shape_.k, desc.has_bias, desc.activation},
                       desc.wants_diff_src, /*transposed=*/false);
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, gradients_->scratchpad_bytes());
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    weights_.prepare(stream, params[0]);
    if (bias_.data())
      convert_weights(stream, shape_.dtype, shape_.k, params[1].as<const float>(), bias_.data());
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const float* bias = desc_.has_bias ? args.params[1].as<const float>() : nullptr;
    const void* inside = bias_.data() ? static_cast<const void*>(bias_.data()) : bias;
    forward_.pass->run(stream, args.src[0].data, weights_.data(args.params[0]), inside, args.dst[0].data,
                       args.scratchpad);
    add_bias(stream, shape_.dtype, forward_.behind, pixels(), shape_.k, forward_.bias_inside ? nullptr : bias,
             args.dst[0].data);
  }

  void backward(Stream& stream, const OpArgs& args) override { gradients_->run(stream, args); }

 private:
  int64_t pixels() const { return shape_.n * shape_.p * shape_.q; }  // of dst

  Conv2dDesc desc_;
  ConvolutionDesc shape_;
  ConvolutionWeights weights_;
  Forward forward_;
  Memory bias_;  // in the type of the activations, for a pass that takes it
  std::optional<ConvolutionGradients> gradients_;
};

}  // namespace

std::unique_ptr<Op> make_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  return std::make_unique<Conv2dOp>(config, desc);
}

}  // namespace lockstep::cuda
