// PReLU layer: a rectifier with learned negative slopes, one for all or one per channel.
#include "kernels/prelu.h"

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class PreluLayer : public Layer {
 public:
  PreluLayer(bool per_channel, double initial) : per_channel_(per_channel), initial_(initial) {}
  std::string type() const override { return "prelu"; }

  Shape infer(std::span<const Shape> src) const override {
    if (per_channel_ && src[0].rank() == 0)
      throw Error("", "one slope per channel needs channels, a sample is one number", "use {prelu: {}}");
    return src[0];
  }
  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    ParameterSpec slope{"weight", {per_channel_ ? src[0][0] : 1}};
    slope.initial = initial_;
    return {slope};
  }
  void to_onnx(OnnxVertex& vertex) const override {
    std::string slope = vertex.parameter(0);
    const int rank = vertex.shape().rank();
    if (per_channel_ && rank > 1) {
      std::vector<int64_t> extents(static_cast<size_t>(rank), 1);
      extents[0] = -1;
      slope = vertex.add("Reshape", {slope, vertex.wholes(extents)});
    }
    vertex.set_output(vertex.add("PRelu", {vertex.input(), slope}));
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_prelu(context.config, {context.src[0], per_channel_});
  }

 private:
  bool per_channel_;
  double initial_;
};

const bool prelu_layer_registered = register_layer("prelu", [](Config& options) {
  return prelu_layer(options.get_bool("per_channel", false), options.get_double("initial", 0.25));
});

}  // namespace

std::shared_ptr<const Layer> prelu_layer(bool per_channel, double initial) {
  return std::make_shared<PreluLayer>(per_channel, initial);
}

}  // namespace lockstep
