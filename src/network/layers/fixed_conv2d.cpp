// Convolution with constant weights, such as edge filters: shapes are the convolution's, parameters
// there are none. The op around the convolution's own holds the weights and drops their gradients.
#include "src/network/layers/conv_options.h"

namespace lockstep {

namespace {

class FixedConv2dOp : public Op {
 public:
  FixedConv2dOp(const OpConfig& config, std::unique_ptr<Op> conv, const TensorDesc& desc,
                const std::vector<float>& weights)
      : conv_(std::move(conv)),
        weights_(config.device, desc.n_bytes()),
        diff_weights_(config.device, desc.n_bytes()) {
    info_ = conv_->info();
    params_ = {weights_.data(), desc};
    diff_params_ = {diff_weights_.data(), desc};
    if (SizesOnly::holds()) return;
    const std::unique_ptr<Stream> stream = make_stream(config.device);
    copy(*stream, weights_.data(), weights.data(), desc.n_bytes());
    conv_->prepare(*stream, {&params_, 1});
    stream->synchronize();
  }

  void forward(Stream& stream, const OpArgs& args) override { conv_->forward(stream, with_weights(args)); }
  void backward(Stream& stream, const OpArgs& args) override { conv_->backward(stream, with_weights(args)); }

 private:
  OpArgs with_weights(OpArgs args) const {
    args.params = {&params_, 1};
    args.diff_params = {&diff_params_, 1};
    return args;
  }

  std::unique_ptr<Op> conv_;
  Memory weights_, diff_weights_;
  Tensor params_, diff_params_;
};

class FixedConv2dLayer : public Layer {
 public:
  FixedConv2dLayer(const Conv2dOptions& options, std::vector<float> weights)
      : options_(options), conv_(conv2d_layer(options)), weights_(std::move(weights)) {}
  std::string type() const override { return "fixed_conv"; }
  Shape infer(std::span<const Shape> src) const override { return conv_->infer(src); }

  void to_onnx(OnnxVertex& vertex) const override {
    const Shape& sample = vertex.shape();
    const Shape shape = conv_->parameters({&sample, 1}).front().shape;
    vertex.set_output(vertex.add("Conv", {padded_in_onnx(options_, vertex), vertex.constant(shape, weights_)},
                                 conv_in_onnx(options_, 2, options_.padding_mode == PaddingMode::kZeros)));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const Shape sample = context.src[0].shape.without_front();
    const Shape shape = conv_->parameters({&sample, 1}).front().shape;
    if (shape.n_elements() != static_cast<int64_t>(weights_.size()))
      throw Error(
          "", "constant weights of " + std::to_string(weights_.size()) + " elements for shape " + shape.str(),
          "give one weight for each element of that shape");
    return std::make_unique<FixedConv2dOp>(context.config, conv_->lower(context),
                                           TensorDesc{shape, DType::kFloat32, nullptr}, weights_);
  }

 private:
  Conv2dOptions options_;
  std::shared_ptr<const Layer> conv_;
  std::vector<float> weights_;
};

}  // namespace

std::shared_ptr<const Layer> fixed_conv2d_layer(const Conv2dOptions& options, std::vector<float> weights) {
  return std::make_shared<FixedConv2dLayer>(options, std::move(weights));
}

}  // namespace lockstep
