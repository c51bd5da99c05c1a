// Attention of several heads with its four projections, each a layer of its own: what a job file says as one.
#include <fmt/format.h>

#include "src/network/graph.h"
#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

class MultiHeadAttentionLayer : public Layer {
 public:
  explicit MultiHeadAttentionLayer(const MultiHeadAttentionOptions& options) : o_(options) {}
  std::string type() const override { return "multi_head_attention"; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }  // of its parts, see expand()
  std::unique_ptr<Op> lower(const LowerContext&) const override { return nullptr; }

  int expand(Graph& graph, const std::string& name, const std::vector<int>& inputs) const override {
    if (inputs.empty() || inputs.size() > 2)
      throw Error(
          "layer '" + name + "'",
          fmt::format("it reads a sequence, or queries and what they look at, not {} values", inputs.size()),
          "name one or two: from: [decoder, encoder]");
    const Shape shape = graph.vertex(inputs[0]).shape;
    if (shape.rank() != 2)
      throw Error("layer '" + name + "'",
                  fmt::format("needs a sequence (T, features) per sample, got shape {}", shape.str()),
                  "put it behind a layer that gives sequences, such as embedding");
    const int memory = inputs.back();
    const auto project = [&](const char* part, int from) {
      return graph.add(name + "." + part,
                       affine_layer({.features = shape[1], .each_step = true, .deviation = o_.deviation}),
                       {from});
    };
    const int query = project("q_proj", inputs[0]), keys = project("k_proj", memory),
              values = project("v_proj", memory);
    AttentionOptions attention;
    attention.heads = o_.heads;
    attention.causal = o_.causal;
    attention.self = inputs.size() == 1;
    attention.dropout = o_.dropout;
    const int heads = graph.add(name + ".heads", attention_layer(attention), {query, keys, values});
    graph.show_on_request(graph.output_of(heads, "weights"));
    return graph.add(name, affine_layer({.features = shape[1], .each_step = true, .deviation = o_.deviation}),
                     {heads}, -1, name + ".out_proj");
  }

 private:
  MultiHeadAttentionOptions o_;
};

const bool multi_head_attention_registered = register_layer("multi_head_attention", [](Config& options) {
  options.positional("heads");
  MultiHeadAttentionOptions o;
  o.heads = read_size(options, "heads");
  o.causal = options.get_bool("causal", false);
  o.dropout = read_probability(options, "dropout");
  return multi_head_attention_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> multi_head_attention_layer(const MultiHeadAttentionOptions& options) {
  return std::make_shared<MultiHeadAttentionLayer>(options);
}

}  // namespace lockstep
