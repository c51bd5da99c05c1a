// Two-dimensional convolution layer. Zeros around the image are the convolution's own; other padding is
// an op before it, within the layer's.
#include "kernels/conv2d.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/chain.h"
#include "src/network/layers/conv_options.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class Conv2dLayer : public Layer {
 public:
  explicit Conv2dLayer(const Conv2dOptions& options) : o_(options) {}
  std::string type() const override { return "conv"; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& s = src[0];
    check_image_and_groups(s, o_.channels, o_.groups);
    Shape dst{o_.channels, 0, 0};
    for (int axis = 0; axis < 2; ++axis) {
      const int64_t extent = s[1 + axis];
      check_border(axis, extent);
      const int64_t reach = o_.dilation[axis] * (o_.kernel[axis] - 1) + 1;
      const int64_t padded = extent + o_.padding[2 * axis] + o_.padding[2 * axis + 1];
      if (reach > padded) {
        throw Error("",
                    fmt::format("kernel of extent {} does not fit into the padded {} of {} (input {})", reach,
                                axis == 0 ? "height" : "width", padded, s.str()),
                    "use a smaller kernel, more padding or fewer pooling layers before it");
      }
      dst[1 + axis] = conv_output_extent(extent, o_.kernel[axis], o_.stride[axis], o_.dilation[axis],
                                         o_.padding[2 * axis], o_.padding[2 * axis + 1]);
    }
    return dst;
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t in = src[0][0] / o_.groups, window = o_.kernel[0] * o_.kernel[1];
    const int64_t fan_in = in * window, fan_out = o_.channels / o_.groups * window;
    std::vector<ParameterSpec> specs = {{"weight",
                                         {o_.channels, in, o_.kernel[0], o_.kernel[1]},
                                         ParameterSpec::Role::kWeight,
                                         fan_in,
                                         fan_out}};
    if (o_.bias) specs.push_back({"bias", {o_.channels}, ParameterSpec::Role::kBias, fan_in, fan_out});
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override {
    return infer(src).n_elements() * (src[0][0] / o_.groups) * o_.kernel[0] * o_.kernel[1];
  }
  bool fuses(Activation) const override { return true; }

  void to_onnx(OnnxVertex& vertex) const override {
    const int n_axes = vertex.shape().rank() == 2 ? 1 : 2;
    std::vector<std::string> reads{padded_in_onnx(o_, vertex), vertex.parameter(0)};
    if (o_.bias) reads.push_back(vertex.parameter(1));
    const bool pads_itself = o_.padding_mode == PaddingMode::kZeros;
    vertex.set_output(vertex.add("Conv", reads, conv_in_onnx(o_, n_axes, pads_itself)));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const bool pads_itself = o_.padding_mode == PaddingMode::kZeros || o_.padding == std::array<int64_t, 4>{};
    std::unique_ptr<Op> pad;
    if (!pads_itself) pad = make_pad2d(context.config, {context.src[0], o_.padding, o_.padding_mode});
    Conv2dDesc desc;
    desc.src = pads_itself ? context.src[0] : pad->info().dst[0];
    desc.out_channels = o_.channels;
    desc.kernel = o_.kernel;
    desc.stride = o_.stride;
    desc.dilation = o_.dilation;
    if (pads_itself) desc.padding = o_.padding;
    desc.groups = o_.groups;
    desc.has_bias = o_.bias;
    desc.activation = context.fused;
    desc.wants_diff_src = context.wants_diff_src;
    std::unique_ptr<Op> conv = make_conv2d(context.config, desc);
    return pads_itself ? std::move(conv) : chain(context.config, std::move(pad), std::move(conv));
  }

 private:
  void check_border(int axis, int64_t extent) const {
    const int64_t padding = std::max(o_.padding[2 * axis], o_.padding[2 * axis + 1]);
    if (padding <= largest_padding(o_.padding_mode, extent)) return;
    const char* name = axis == 0 ? "height" : "width";
    throw Error("",
                fmt::format("padding_mode {} can add at most {} pixels to a {} of {}, not {}",
                            name_of(o_.padding_mode), largest_padding(o_.padding_mode, extent), name, extent,
                            padding),
                "use less padding, padding_mode: replicate, or fewer pooling layers before it");
  }

  Conv2dOptions o_;
};

const bool conv2d_layer_registered = register_layer("conv", [](Config& options) {
  Conv2dOptions o = read_conv2d_options(options);
  o.padding_mode = read_padding_mode(options);
  return conv2d_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> conv2d_layer(const Conv2dOptions& options) {
  return std::make_shared<Conv2dLayer>(options);
}

}  // namespace lockstep
