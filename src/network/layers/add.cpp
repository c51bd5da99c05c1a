// Sum of values of equal shape, where branches meet again.
#include <fmt/format.h>

#include "kernels/sum.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class AddLayer : public Layer {
 public:
  std::string type() const override { return "add"; }
  bool keeps_steps() const override { return true; }
  int min_inputs() const override { return 2; }
  int max_inputs() const override { return static_cast<int>(kMaxSummands); }

  Shape infer(std::span<const Shape> src) const override {
    for (const Shape& shape : src) {
      if (shape != src[0])
        throw Error("", fmt::format("cannot add shapes {} and {}", src[0].str(), shape.str()),
                    "make them equal, or take 'broadcast_add' where one of them is to repeat");
    }
    return src[0];
  }

  bool fuses(Activation activation) const override { return sum_fuses(activation); }
  bool is_residual_sum() const override { return true; }

  void to_onnx(OnnxVertex& vertex) const override {
    std::string sum = vertex.input();
    for (size_t i = 1; i < vertex.n_inputs(); ++i) sum = vertex.add("Add", {sum, vertex.input(i)});
    vertex.set_output(sum);
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_sum(context.config, {context.src, context.fused});
  }
};

const bool add_layer_registered = register_layer("add", [](Config&) { return add_layer(); });

}  // namespace

std::shared_ptr<const Layer> add_layer() { return std::make_shared<AddLayer>(); }

}  // namespace lockstep
