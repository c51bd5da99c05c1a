// Activation layers: relu, tanh, sigmoid. Element-wise, shape unchanged.
#include "kernels/activation.h"

#include "src/layers/layers.h"

namespace lockstep {

namespace {

class ActivationLayer : public Layer {
 public:
  explicit ActivationLayer(Activation activation) : activation_(activation) {}
  std::string type() const override { return std::string(name_of(activation_)); }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_activation(context.config, {context.src[0], activation_});
  }
  std::optional<Activation> activation() const override { return activation_; }

 private:
  Activation activation_;
};

const bool registered = [] {
  for (Activation activation : {Activation::kRelu, Activation::kTanh, Activation::kSigmoid}) {
    register_layer(std::string(name_of(activation)),
                   [activation](Config&) { return activation_layer(activation); });
  }
  return true;
}();

}  // namespace

std::shared_ptr<const Layer> activation_layer(Activation activation) {
  return std::make_shared<ActivationLayer>(activation);
}

}  // namespace lockstep
