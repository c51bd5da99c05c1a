// Additive attention of one step: how much each step of another sequence matters to it.
#include "kernels/additive_attention.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class AdditiveAttentionLayer : public Layer {
 public:
  std::string type() const override { return "additive_attention"; }
  int min_inputs() const override { return 3; }
  int max_inputs() const override { return 3; }
  Lengths lengths() const override { return {1, 3}; }
  std::vector<std::string> further_outputs() const override { return {"weights"}; }
  Shape infer_further(int, std::span<const Shape> src) const override { return {src[1][0]}; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape &query = src[0], &keys = src[1], &values = src[2];
    const bool fits = query.rank() == 1 && keys.rank() == 2 && values.rank() == 2 && keys[1] == query[0] &&
                      values[0] == keys[0];
    if (!fits)
      throw Error("",
                  fmt::format("query {}, keys {} and values {} do not fit together", query.str(), keys.str(),
                              values.str()),
                  "they are (A), (S, A) and (S, E): affine layers of A features make query and keys");
    return {values[1]};
  }
  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    return {{"v", {src[0][0]}, ParameterSpec::Role::kWeight, src[0][0], 1}};
  }
  int64_t multiply_adds(std::span<const Shape> src) const override {
    return src[1].n_elements() + src[2].n_elements();
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const int64_t n_steps = vertex.shape(1)[0], width = vertex.shape()[0];
    const std::string query = vertex.unsqueeze(vertex.input(0), 1);
    const std::string mixed = vertex.add("Tanh", {vertex.add("Add", {query, vertex.input(1)})});
    const std::string v = vertex.add("Reshape", {vertex.parameter(0), vertex.wholes({width, 1})});
    std::string scores = vertex.reshape(vertex.add("MatMul", {mixed, v}), {n_steps});
    std::string weights;
    if (vertex.n_inputs() > 3) {
      const std::string valid = vertex.below_lengths(3, n_steps);
      scores = vertex.add("Where", {valid, scores, vertex.constant(-1e30F)});
      weights = vertex.add("Softmax", {scores}, {{"axis", int64_t{-1}}});
      weights = vertex.add("Where", {valid, weights, vertex.constant(0)});
    } else {
      weights = vertex.add("Softmax", {scores}, {{"axis", int64_t{-1}}});
    }
    const std::string sum = vertex.add("MatMul", {vertex.unsqueeze(weights, 1), vertex.input(2)});
    vertex.set_output(weights, 1);
    vertex.set_output(vertex.squeeze(sum, 1));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    AdditiveAttentionDesc desc;
    desc.query = context.src[0];
    desc.keys = context.src[1];
    desc.values = context.src[2];
    desc.has_lengths = context.src.size() > 3;
    return make_additive_attention(context.config, desc);
  }
};

const bool additive_attention_layer_registered =
    register_layer("additive_attention", [](Config&) { return additive_attention_layer(); });

}  // namespace

std::shared_ptr<const Layer> additive_attention_layer() { return std::make_shared<AdditiveAttentionLayer>(); }

}  // namespace lockstep
