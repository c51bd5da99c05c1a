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

  void to_onnx(OnnxVertex& vertex) const override {
    // ONNX has no such operator: every place's window is gathered, and a product of matrices for each place.
    const Shape &s = vertex.shape(), dst = vertex.output_shape();
    const auto& pad = o_.padding;
    const std::string x =
        vertex.add("Pad", {vertex.input(), vertex.wholes({0, 0, pad[0], pad[2], 0, 0, pad[1], pad[3]})});
    const int64_t height = s[1] + pad[0] + pad[1], width = s[2] + pad[2] + pad[3];
    const int64_t places = dst[1] * dst[2], window = o_.kernel[0] * o_.kernel[1];
    std::vector<int64_t> indices;
    for (int64_t p = 0; p < dst[1]; ++p)
      for (int64_t q = 0; q < dst[2]; ++q)
        for (int64_t i = 0; i < o_.kernel[0]; ++i)
          for (int64_t j = 0; j < o_.kernel[1]; ++j)
            indices.push_back((p * o_.stride[0] + i) * width + q * o_.stride[1] + j);
    const std::string flat = vertex.reshape(x, {s[0], height * width});
    const std::string gathered = vertex.add("Gather", {flat, vertex.wholes(indices)}, {{"axis", int64_t{2}}});
    std::string windows = vertex.reshape(gathered, {s[0], places, window});
    windows = vertex.transpose(windows, {2, 0, 1, 3});  // (places, N, C, window)
    windows = vertex.add("Reshape", {windows, vertex.wholes({places, -1, s[0] * window})});
    const std::string weights = vertex.transpose(vertex.parameter(0), {0, 2, 1});
    std::string y = vertex.transpose(vertex.add("MatMul", {windows, weights}), {1, 2, 0});  // (N, K, places)
    y = vertex.reshape(y, dst);
    if (o_.bias) y = vertex.add("Add", {y, vertex.parameter(1)});
    vertex.set_output(y);
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
