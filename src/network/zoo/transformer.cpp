// The transformer of "Attention is all you need" (Vaswani et al. 2017): an encoder and a decoder.
#include <fmt/format.h>

#include <cmath>

#include "src/network/zoo/transformer_parts.h"

namespace lockstep {

namespace {

class TransformerBuilder {
 public:
  TransformerBuilder(Graph& graph, const Config& options)
      : graph_(graph),
        sizes_(read_transformer_sizes(options, {.layers = 6, .width = 512, .heads = 8, .positions = 1024})),
        learned_(options.get_choice("position_kind", "sinusoidal", {"sinusoidal", "learned"}) == "learned"),
        parts_(graph, sizes_) {}

  const TransformerSizes& sizes() const { return sizes_; }

  /// (T) ids -> (T, D)
  int embed(const std::string& name, int ids, int64_t vocabulary) {
    EmbeddingOptions embedding{.width = sizes_.width, .vocabulary = vocabulary};
    embedding.deviation = 1 / std::sqrt(static_cast<double>(sizes_.width));
    int x = graph_.add(name, embedding_layer(embedding), {ids});
    // So that words weigh as much as their places (section 3.4).
    x = graph_.add(name + "_scale", map_layer(Map::kScale, std::sqrt(static_cast<double>(sizes_.width))),
                   {x});
    PositionsOptions positions;
    positions.kind = learned_ ? PositionsOptions::Kind::kLearned : PositionsOptions::Kind::kSinusoidal;
    positions.max_steps = sizes_.positions;
    positions.deviation = 1 / std::sqrt(static_cast<double>(sizes_.width));
    return parts_.dropout(name + "_dropout",
                          graph_.add(name + "_positions", positions_layer(positions), {x}));
  }

  int encoder(int x) {
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      const std::string block = fmt::format("encoder.layers.{}", i);
      x = attend(block, "self_attn", x, -1, false);
      x = feed_forward(block, x);
    }
    return sizes_.pre_norm ? parts_.norm("encoder.layer_norm", x) : x;
  }
  int decoder(int x, int memory) {
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      const std::string block = fmt::format("decoder.layers.{}", i);
      x = attend(block, "self_attn", x, -1, true);
      x = attend(block, "encoder_attn", x, memory, false);
      x = feed_forward(block, x);
    }
    return sizes_.pre_norm ? parts_.norm("decoder.layer_norm", x) : x;
  }

 private:
  int attend(const std::string& block, const std::string& part, int x, int memory, bool causal) {
    const std::string name = block + "." + part;
    return parts_.half(name + "_add", name + "_layer_norm", x, [&](int read) {
      MultiHeadAttentionOptions attention;
      attention.heads = sizes_.heads;
      attention.causal = causal;
      attention.dropout = sizes_.dropout;
      return graph_.add(name, multi_head_attention_layer(attention),
                        memory >= 0 ? std::vector<int>{read, memory} : std::vector<int>{read});
    });
  }
  int feed_forward(const std::string& block, int x) {
    return parts_.half(block + ".add", block + ".final_layer_norm", x, [&](int read) {
      const int wide = parts_.affine(block + ".fc1", read, sizes_.feed_forward);
      const int relu = graph_.add(block + ".relu", activation_layer(Activation::kRelu), {wide});
      return parts_.affine(block + ".fc2", relu, sizes_.width);
    });
  }

  Graph& graph_;
  const TransformerSizes sizes_;
  const bool learned_;
  TransformerParts parts_;
};

void build_transformer(Graph& graph, const Config& options, const ModelContext& context) {
  TransformerBuilder builder(graph, options);
  const int64_t source_vocabulary = read_vocabulary(options, context, "source_vocabulary", "source"),
                target_vocabulary = read_vocabulary(options, context, "target_vocabulary", "");
  const auto input = [&](const std::string& name) {
    const auto told = context.inputs.find(name);
    return add_data_input(graph, name, context, told != context.inputs.end() ? told->second : Shape{20});
  };
  const int source = input("source"), previous = input("previous");
  const int memory = builder.encoder(builder.embed("source_embedding", source, source_vocabulary));
  const int target = builder.embed("target_embedding", previous, target_vocabulary);
  const int last = builder.decoder(target, memory);
  const int scores =
      graph.add("output", affine_layer({.features = target_vocabulary, .each_step = true}), {last});
  if (options.get_bool("tied", true)) graph.tie(scores, graph.find("target_embedding"));
  graph.set_output(scores);
}

const bool transformer_registered = register_model("transformer", build_transformer, {{20}, 50, true});

}  // namespace

}  // namespace lockstep
