// Softmax layer over the last axis of a sample.
#include "kernels/softmax.h"

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class SoftmaxLayer : public Layer {
 public:
  std::string type() const override { return "softmax"; }
  bool keeps_steps() const override { return true; }
  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() == 0)
      throw Error("", "needs several values per sample, got one number",
                  "put a layer of one score per class before it, for instance affine: 10");
    return src[0];
  }
  void to_onnx(OnnxVertex& vertex) const override {
    vertex.set_output(vertex.add("Softmax", {vertex.input()}, {{"axis", int64_t{-1}}}));
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_softmax(context.config, context.src[0]);
  }
};

const bool softmax_layer_registered = register_layer("softmax", [](Config&) { return softmax_layer(); });

}  // namespace

std::shared_ptr<const Layer> softmax_layer() { return std::make_shared<SoftmaxLayer>(); }

}  // namespace lockstep
