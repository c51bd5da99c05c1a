// Encoder-only transformers that fill in masked tokens (Devlin et al. 2019), with the names and layouts of
// Hugging Face's BertForMaskedLM.
#include <fmt/format.h>

#include "src/network/zoo/transformer_parts.h"

namespace lockstep {

namespace {

constexpr double kBertDeviation = 0.02;

/// Words, places and which of two sentences a word is from, summed and normalised.
int add_embeddings(Graph& graph, TransformerParts& parts, const Config& options,
                   const TransformerSizes& sizes, int64_t vocabulary) {
  const std::string name = "bert.embeddings.";
  EmbeddingOptions words{.width = sizes.width, .vocabulary = vocabulary};
  words.deviation = kBertDeviation;
  if (options.has("padding")) words.padding_id = options.get_int("padding");
  const int input = 0;
  const Shape steps = graph.vertex(input).shape;
  const int word = graph.add(name + "word_embeddings", embedding_layer(words), {input});
  PositionsOptions positions;
  positions.max_steps = sizes.positions;
  positions.deviation = kBertDeviation;
  const int placed = graph.add(name + "position_embeddings", positions_layer(positions), {word});
  // Without a second sentence all tokens are of the first.
  const int types = graph.add_zeros(name + "token_types", steps);
  EmbeddingOptions type{.width = sizes.width, .vocabulary = size_or(options, "token_types", 2)};
  type.deviation = kBertDeviation;
  const int typed = graph.add(name + "token_type_embeddings", embedding_layer(type), {types});
  const int sum = parts.add(name + "sum", placed, typed);
  return parts.dropout(name + "dropout", parts.norm(name + "LayerNorm", sum));
}

void build_bert(Graph& graph, const Config& options, const ModelContext& context,
                const TransformerSizes& fallback) {
  const TransformerSizes sizes = read_transformer_sizes(options, fallback);
  const int64_t vocabulary = read_vocabulary(options, context);
  TransformerParts parts(graph, sizes, kBertDeviation);
  int x = add_embeddings(graph, parts, options, sizes, vocabulary);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string block = fmt::format("bert.encoder.layer.{}", i);
    x = parts.half(block + ".attention.output", block + ".attention.output.LayerNorm", x, [&](int read) {
      const std::string self = block + ".attention.self";
      const int query = parts.affine(self + ".query", read, sizes.width),
                keys = parts.affine(self + ".key", read, sizes.width),
                values = parts.affine(self + ".value", read, sizes.width);
      AttentionOptions attention;
      attention.heads = sizes.heads;
      attention.self = true;
      attention.dropout = sizes.dropout;
      const int heads = graph.add(self, attention_layer(attention), {query, keys, values});
      graph.show_on_request(graph.output_of(heads, "weights"));
      return parts.affine(block + ".attention.output.dense", heads, sizes.width);
    });
    x = parts.half(block + ".output", block + ".output.LayerNorm", x, [&](int read) {
      const int wide = parts.affine(block + ".intermediate.dense", read, sizes.feed_forward);
      const int gelu = graph.add(block + ".intermediate.gelu", gelu_layer(), {wide});
      return parts.affine(block + ".output.dense", gelu, sizes.width);
    });
  }
  if (sizes.pre_norm) x = parts.norm("bert.encoder.LayerNorm", x);
  const std::string head = "cls.predictions.transform";
  x = parts.affine(head + ".dense", x, sizes.width);
  x = graph.add(head + ".gelu", gelu_layer(), {x});
  x = parts.norm(head + ".LayerNorm", x);
  const int scores = parts.affine("cls.predictions", x, vocabulary);
  graph.tie(scores, graph.find("bert.embeddings.word_embeddings"));
  graph.set_output(scores);
}

bool register_bert(const char* name, const TransformerSizes& sizes, const ModelDefaults& defaults) {
  return register_model(
      name,
      [sizes](Graph& graph, const Config& options, const ModelContext& context) {
        build_bert(graph, options, context, sizes);
      },
      defaults);
}

const bool bert_registered =
    register_bert("bert", {.layers = 12, .width = 768, .heads = 12, .positions = 512, .epsilon = 1e-12},
                  {{512}, 0, false, 30522}) &&
    register_bert("bert_small", {.layers = 4, .width = 256, .heads = 4, .positions = 512, .epsilon = 1e-12},
                  {{128}, 0, false, 65});

}  // namespace

}  // namespace lockstep
