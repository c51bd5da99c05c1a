// Element-wise activation layers; shape unchanged. Those of activation.h can become the closing
// step of the layer before; `identity` then vanishes.
#include "kernels/activation.h"

#include <fmt/format.h>

#include "kernels/nonlinearity.h"
#include "kernels/reshape.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class ActivationLayer : public Layer {
 public:
  explicit ActivationLayer(Activation activation) : activation_(activation) {}
  std::string type() const override {
    return activation_ == Activation::kNone ? "identity" : std::string(name_of(activation_));
  }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  bool keeps_steps() const override { return true; }
  std::shared_ptr<const Layer> over_steps() const override {
    return std::make_shared<ActivationLayer>(activation_);
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    if (activation_ == Activation::kNone) return make_identity(context.config, context.src[0]);
    return make_activation(context.config, {context.src[0], activation_});
  }
  std::optional<Activation> activation() const override { return activation_; }
  void to_onnx(OnnxVertex& vertex) const override {
    const std::string x = vertex.input();
    switch (activation_) {
      case Activation::kNone: return vertex.set_output(x);
      case Activation::kRelu: return vertex.set_output(vertex.add("Relu", {x}));
      case Activation::kRelu6:
        return vertex.set_output(vertex.add("Clip", {x, vertex.constant(0), vertex.constant(6)}));
      case Activation::kTanh: return vertex.set_output(vertex.add("Tanh", {x}));
      case Activation::kSigmoid: return vertex.set_output(vertex.add("Sigmoid", {x}));
    }
  }

 private:
  Activation activation_;
};

class NonlinearityLayer : public Layer {
 public:
  NonlinearityLayer(Nonlinearity function, double alpha)
      : function_(function), alpha_(static_cast<float>(alpha)) {}
  std::string type() const override {
    return function_ == Nonlinearity::kGeluTanh ? "gelu" : std::string(name_of(function_));
  }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  bool keeps_steps() const override { return true; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_nonlinearity(context.config, {context.src[0], function_, alpha_});
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const std::string x = vertex.input();
    switch (function_) {
      case Nonlinearity::kLeakyRelu:
        return vertex.set_output(vertex.add("LeakyRelu", {x}, {{"alpha", alpha_}}));
      case Nonlinearity::kElu: return vertex.set_output(vertex.add("Elu", {x}, {{"alpha", alpha_}}));
      case Nonlinearity::kGelu: {
        const std::string erf =
            vertex.add("Erf", {vertex.add("Mul", {x, vertex.constant(0.70710678118654752F)})});
        return vertex.set_output(half_of_one_plus(vertex, erf));
      }
      case Nonlinearity::kGeluTanh: {
        const std::string cube = vertex.add("Mul", {vertex.add("Mul", {x, x}), x});
        const std::string inner =
            vertex.add("Add", {x, vertex.add("Mul", {cube, vertex.constant(0.044715F)})});
        const std::string scaled = vertex.add("Mul", {inner, vertex.constant(0.79788456080286536F)});
        return vertex.set_output(half_of_one_plus(vertex, vertex.add("Tanh", {scaled})));
      }
      case Nonlinearity::kSign: {
        // Sign is 0 at 0.
        const std::string at_zero = vertex.add("Equal", {x, vertex.constant(0)});
        return vertex.set_output(
            vertex.add("Where", {at_zero, vertex.constant(alpha_), vertex.add("Sign", {x})}));
      }
    }
  }

 private:
  /// x (1 + value) / 2
  static std::string half_of_one_plus(OnnxVertex& vertex, const std::string& value) {
    const std::string one_plus = vertex.add("Add", {value, vertex.constant(1)});
    return vertex.add("Mul", {vertex.add("Mul", {vertex.input(), vertex.constant(0.5F)}), one_plus});
  }

  Nonlinearity function_;
  float alpha_;
};

const bool activation_layer_registered = [] {
  for (const Activation activation :
       {Activation::kNone, Activation::kRelu, Activation::kRelu6, Activation::kTanh, Activation::kSigmoid}) {
    register_layer(activation_layer(activation)->type(),
                   [activation](Config&) { return activation_layer(activation); });
  }
  register_layer("leaky_relu", [](Config& options) {
    options.positional("slope");
    const double slope = options.get_double("slope", 0.01);
    if (slope < 0)
      throw options.error_at("slope", fmt::format("must not be negative, found {}", slope),
                             "the usual one is 0.01");
    return leaky_relu_layer(slope);
  });
  register_layer("elu", [](Config& options) {
    options.positional("alpha");
    const double alpha = options.get_double("alpha", 1);
    if (alpha <= 0)
      throw options.error_at("alpha", fmt::format("must be positive, found {}", alpha), "the usual one is 1");
    return elu_layer(alpha);
  });
  register_layer("gelu", [](Config& options) {
    return gelu_layer(options.get_choice("approximate", "none", {"none", "tanh"}) == "tanh");
  });
  register_layer("sign", [](Config& options) { return sign_layer(options.get_double("at_zero", 1)); });
  return true;
}();

}  // namespace

std::shared_ptr<const Layer> activation_layer(Activation activation) {
  return std::make_shared<ActivationLayer>(activation);
}
std::shared_ptr<const Layer> leaky_relu_layer(double slope) {
  return std::make_shared<NonlinearityLayer>(Nonlinearity::kLeakyRelu, slope);
}
std::shared_ptr<const Layer> elu_layer(double alpha) {
  return std::make_shared<NonlinearityLayer>(Nonlinearity::kElu, alpha);
}
std::shared_ptr<const Layer> gelu_layer(bool tanh) {
  return std::make_shared<NonlinearityLayer>(tanh ? Nonlinearity::kGeluTanh : Nonlinearity::kGelu, 0);
}
std::shared_ptr<const Layer> sign_layer(double at_zero) {
  return std::make_shared<NonlinearityLayer>(Nonlinearity::kSign, at_zero);
}

}  // namespace lockstep
