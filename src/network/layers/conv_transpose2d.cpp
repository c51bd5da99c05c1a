// Transposed two-dimensional convolution layer: enlarges images by its stride.
#include "kernels/conv_transpose2d.h"

#include <fmt/format.h>

#include "src/network/layers/conv_options.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class ConvTranspose2dLayer : public Layer {
 public:
  explicit ConvTranspose2dLayer(const ConvTranspose2dOptions& options) : o_(options) {}
  std::string type() const override { return "conv_transpose"; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& s = src[0];
    check_image_and_groups(s, o_.channels, o_.groups);
    Shape dst{o_.channels, 0, 0};
    for (int axis = 0; axis < 2; ++axis) {
      dst[1 + axis] = conv_transpose_output_extent(s[1 + axis], o_.kernel[axis], o_.stride[axis],
                                                   o_.dilation[axis], o_.padding[2 * axis],
                                                   o_.padding[2 * axis + 1], o_.output_padding[axis]);
      if (dst[1 + axis] < 1) {
        throw Error("", fmt::format("the padding cuts away all of its result (input {})", s.str()),
                    "use less padding or a larger kernel");
      }
    }
    return dst;
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t c = src[0][0], window = o_.kernel[0] * o_.kernel[1];
    // Fans as PyTorch counts them: of the convolution that this one turns round.
    const int64_t fan_in = o_.channels / o_.groups * window, fan_out = c / o_.groups * window;
    std::vector<ParameterSpec> specs = {{"weight",
                                         {c, o_.channels / o_.groups, o_.kernel[0], o_.kernel[1]},
                                         ParameterSpec::Role::kWeight,
                                         fan_in,
                                         fan_out}};
    if (o_.bias) specs.push_back({"bias", {o_.channels}, ParameterSpec::Role::kBias, fan_in, fan_out});
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override {
    return src[0].n_elements() * (o_.channels / o_.groups) * o_.kernel[0] * o_.kernel[1];
  }
  bool fuses(Activation) const override { return true; }

  void to_onnx(OnnxVertex& vertex) const override {
    std::vector<std::string> reads{vertex.input(), vertex.parameter(0)};
    if (o_.bias) reads.push_back(vertex.parameter(1));
    std::vector<OnnxAttribute> attributes = conv_in_onnx(o_, 2, true);
    attributes.push_back(
        {"output_padding", std::vector<int64_t>(o_.output_padding.begin(), o_.output_padding.end())});
    vertex.set_output(vertex.add("ConvTranspose", reads, attributes));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_conv_transpose2d(context.config, {.src = context.src[0],
                                                  .out_channels = o_.channels,
                                                  .kernel = o_.kernel,
                                                  .stride = o_.stride,
                                                  .dilation = o_.dilation,
                                                  .padding = o_.padding,
                                                  .output_padding = o_.output_padding,
                                                  .groups = o_.groups,
                                                  .has_bias = o_.bias,
                                                  .activation = context.fused,
                                                  .wants_diff_src = context.wants_diff_src});
  }

 private:
  ConvTranspose2dOptions o_;
};

const bool conv_transpose2d_layer_registered = register_layer("conv_transpose", [](Config& options) {
  ConvTranspose2dOptions o;
  static_cast<Conv2dOptions&>(o) = read_conv2d_options(options);
  const std::vector<int64_t> added = options.get_ints("output_padding", {0});
  if (added.empty() || added.size() > 2) {
    throw options.error_at("output_padding", "expected one number or [vertical, horizontal]",
                           "for instance output_padding: 1");
  }
  o.output_padding = {added.front(), added.back()};
  for (size_t axis = 0; axis < 2; ++axis) {
    if (o.output_padding[axis] < 0 || o.output_padding[axis] >= o.stride[axis]) {
      throw options.error_at("output_padding",
                             fmt::format("must be from 0 to stride - 1, which is {}; found {}",
                                         o.stride[axis] - 1, o.output_padding[axis]),
                             "a larger stride or kernel makes a larger result");
    }
  }
  return conv_transpose2d_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> conv_transpose2d_layer(const ConvTranspose2dOptions& options) {
  require_zeros(options, "conv_transpose");
  return std::make_shared<ConvTranspose2dLayer>(options);
}

}  // namespace lockstep
