// Dropout layer. Its mask is keyed by the seed, the step, the name of the vertex and the sample.
#include "kernels/dropout.h"

#include "kernels/random.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class DropoutLayer : public Layer {
 public:
  DropoutLayer(double p, bool test_time_scaling) : p_(p), test_time_scaling_(test_time_scaling) {}
  std::string type() const override { return "dropout"; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  bool keeps_steps() const override { return true; }
  void to_onnx(OnnxVertex& vertex) const override {
    if (!test_time_scaling_) return vertex.set_output(vertex.input());
    vertex.set_output(vertex.add("Mul", {vertex.input(), vertex.constant(static_cast<float>(1 - p_))}));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    if (context.as_evaluated && test_time_scaling_)
      throw Error("", "gradients of inputs are not there for dropout that scales in the test",
                  "train with dropout's scaling: training");
    return make_dropout(context.config, {context.src[0], context.as_evaluated ? 0 : p_, test_time_scaling_,
                                         hash_name(context.name)});
  }

 private:
  double p_;
  bool test_time_scaling_;
};

const bool dropout_layer_registered = register_layer("dropout", [](Config& options) {
  options.positional("p");
  const double p = options.get_double("p", 0.5);
  if (p < 0 || p >= 1) throw options.error_at("p", "must lie in [0, 1)", "p is the share that is dropped");
  return dropout_layer(p, options.get_choice("scaling", "training", {"training", "test"}) == "test");
});

}  // namespace

std::shared_ptr<const Layer> dropout_layer(double p, bool test_time_scaling) {
  return std::make_shared<DropoutLayer>(p, test_time_scaling);
}

}  // namespace lockstep
