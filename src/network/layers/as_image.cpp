// See over_time.h. One-dimensional convolution: dst (K, T') from src (C, T), weights (K, C/groups, k).
#include "src/network/layers/as_image.h"

#include "kernels/over_time.h"

#include <fmt/format.h>

#include "src/network/layers/conv_options.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class OverTimeLayer : public Layer {
 public:
  OverTimeLayer(std::string type, std::shared_ptr<const Layer> images)
      : type_(std::move(type)), images_(std::move(images)) {}
  std::string type() const override { return type_; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape image = image_of(src);
    const Shape dst = images_->infer({&image, 1});
    return {dst[0], dst[2]};
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const Shape image = image_of(src);
    std::vector<ParameterSpec> specs = images_->parameters({&image, 1});
    for (ParameterSpec& spec : specs) {
      const Shape& s = spec.shape;
      if (s.rank() == 4) spec.shape = {s[0], s[1], s[3]};
    }
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override {
    const Shape image = image_of(src);
    return images_->multiply_adds({&image, 1});
  }
  bool fuses(Activation activation) const override { return images_->fuses(activation); }

  void to_onnx(OnnxVertex& vertex) const override { images_->to_onnx(vertex); }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    LowerContext of_images = context;
    of_images.src = {as_image(context.src[0])};
    return over_time(images_->lower(of_images));
  }

 private:
  static Shape image_of(std::span<const Shape> src) {
    const Shape& s = src[0];
    if (s.rank() != 2) {
      throw Error("", fmt::format("needs a sequence (C, T) per sample, got shape {}", s.str()),
                  "reshape it to [channels, time]");
    }
    return {s[0], 1, s[1]};
  }

  std::string type_;
  std::shared_ptr<const Layer> images_;
};

const bool over_time_layer_registered = register_layer("conv1d", [](Config& options) {
  Conv2dOptions o = read_conv1d_options(options);
  o.padding_mode = read_padding_mode(options);
  return conv1d_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> over_time_layer(std::string type, std::shared_ptr<const Layer> images) {
  return std::make_shared<OverTimeLayer>(std::move(type), std::move(images));
}

std::shared_ptr<const Layer> conv1d_layer(const Conv2dOptions& options) {
  Conv2dOptions o = options;
  o.kernel[0] = o.stride[0] = o.dilation[0] = 1;
  o.padding[0] = o.padding[1] = 0;
  return over_time_layer("conv1d", conv2d_layer(o));
}

}  // namespace lockstep
