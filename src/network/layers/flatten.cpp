// Flatten: any sample shape to one vector, row-major. A view: no element moves.
#include "kernels/reshape.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class FlattenLayer : public Layer {
 public:
  std::string type() const override { return "flatten"; }
  Shape infer(std::span<const Shape> src) const override { return {src[0].n_elements()}; }
  void to_onnx(OnnxVertex& vertex) const override {
    vertex.set_output(vertex.add("Flatten", {vertex.input()}, {{"axis", int64_t{1}}}));
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const TensorDesc& src = context.src[0];
    return make_reshape(context.config, src, {src.shape[0], src.n_elements() / src.shape[0]});
  }
};

const bool flatten_layer_registered = register_layer("flatten", [](Config&) { return flatten_layer(); });

}  // namespace

std::shared_ptr<const Layer> flatten_layer() { return std::make_shared<FlattenLayer>(); }

}  // namespace lockstep
