// Locally connected layer: a convolution with its own weights at every place.
#include "kernels/local_conv2d.h"

#include "kernels/conv2d.h"
#include "src/network/layers/conv_options.h"

namespace lockstep {

namespace {

class LocalConv2dLayer : public Layer {
 public:
  /// `o` without dilation, groups and padding mode.
  explicit LocalConv2dLayer(const Conv2dOptions& o) : o_(o), convolution_(conv2d_layer(o)) {}
  std::string type() const override { return "local_conv"; }

  Shape infer(std::span<const Shape> src) const override { return convolution_->infer(src); }
  int64_t multiply_adds(std::span<const Shape> src) const override {
    return convolution_->multiply_adds(src);
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const Shape dst = infer(src);
    std::vector<ParameterSpec> specs = convolution_->parameters(src);
    specs[0].shape = {dst[1] * dst[2], dst[0], specs[0].fan_in};
    if (o_.bias) specs[1].shape = dst;
    return specs;
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_local_conv2d(context.config, {.src = context.src[0],
                                              .out_channels = o_.channels,
                                              .kernel = o_.kernel,
                                              .stride = o_.stride,
                                              .padding = o_.padding,
                                              .has_bias = o_.bias});
  }

 private:
  Conv2dOptions o_;
  std::shared_ptr<const Layer> convolution_;  // of equal shapes
};

const bool local_conv2d_layer_registered = register_layer("local_conv", [](Config& options) {
  const Conv2dOptions o = read_conv2d_options(options);
  if (o.groups != 1) throw options.error_at("groups", "a local_conv has none", "leave it out");
  if (o.dilation != std::array<int64_t, 2>{1, 1}) {
    throw options.error_at("dilation", "a local_conv has none", "leave it out");
  }
  return local_conv2d_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> local_conv2d_layer(const Conv2dOptions& options) {
  require_zeros(options, "local_conv");
  return std::make_shared<LocalConv2dLayer>(options);
}

}  // namespace lockstep
