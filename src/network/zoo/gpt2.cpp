// Decoder-only transformers (Radford et al. 2019): GPT-2 with the names and layouts of Hugging Face's files.
#include <fmt/format.h>

#include <cmath>

#include "src/network/zoo/transformer_parts.h"

namespace lockstep {

namespace {

constexpr double kGpt2Deviation = 0.02;

/// Hugging Face keeps these matrices as (I, O).
int add_conv1d(Graph& graph, const std::string& name, int x, int64_t features,
               double deviation = kGpt2Deviation) {
  AffineOptions options;
  options.features = features;
  options.each_step = true;
  options.deviation = deviation;
  options.is_transposed_outside = true;
  return graph.add(name, affine_layer(options), {x});
}

void build_gpt2(Graph& graph, const Config& options, const ModelContext& context,
                const TransformerSizes& fallback) {
  const TransformerSizes sizes = read_transformer_sizes(options, fallback);
  const int64_t vocabulary = read_vocabulary(options, context);
  const bool is_tied = options.get_bool("tied", true);
  // What adds to the residual path begins smaller, as so many add up (GPT-2, section 2.3).
  const double residual = kGpt2Deviation / std::sqrt(2.0 * static_cast<double>(sizes.layers));
  TransformerParts parts(graph, sizes, kGpt2Deviation);

  EmbeddingOptions embedding{.width = sizes.width, .vocabulary = vocabulary};
  embedding.deviation = kGpt2Deviation;
  const int wte = graph.append(embedding_layer(embedding), "transformer.wte");
  PositionsOptions positions;
  positions.max_steps = sizes.positions;
  positions.deviation = kGpt2Deviation;
  int x = graph.add("transformer.wpe", positions_layer(positions), {wte});
  x = parts.dropout("transformer.drop", x);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string block = fmt::format("transformer.h.{}", i);
    x = parts.half(block + ".add_1", block + ".ln_1", x, [&](int read) {
      const int packed = add_conv1d(graph, block + ".attn.c_attn", read, 3 * sizes.width);
      AttentionOptions attention;
      attention.heads = sizes.heads;
      attention.packed = attention.causal = true;
      attention.dropout = sizes.dropout;
      const int heads = graph.add(block + ".attn", attention_layer(attention), {packed});
      graph.show_on_request(graph.output_of(heads, "weights"));
      return add_conv1d(graph, block + ".attn.c_proj", heads, sizes.width, residual);
    });
    x = parts.half(block + ".add_2", block + ".ln_2", x, [&](int read) {
      const int wide = add_conv1d(graph, block + ".mlp.c_fc", read, sizes.feed_forward);
      const int gelu = graph.add(block + ".mlp.gelu", gelu_layer(true), {wide});
      return add_conv1d(graph, block + ".mlp.c_proj", gelu, sizes.width, residual);
    });
  }
  if (sizes.pre_norm) x = parts.norm("transformer.ln_f", x);
  AffineOptions head;
  head.features = vocabulary;
  head.bias = false;
  head.each_step = true;
  head.deviation = kGpt2Deviation;
  graph.set_output(graph.add("lm_head", affine_layer(head), {x}, is_tied ? wte : -1));
}

bool register_gpt2(const char* name, const TransformerSizes& sizes, const ModelDefaults& defaults) {
  return register_model(
      name,
      [sizes](Graph& graph, const Config& options, const ModelContext& context) {
        build_gpt2(graph, options, context, sizes);
      },
      defaults);
}

const bool gpt2_registered =
    register_gpt2("gpt2", {.layers = 12, .width = 768, .heads = 12, .positions = 1024, .pre_norm = true},
                  {{1024}, 0, false, 50257}) &&
    register_gpt2("gpt2_mini", {.layers = 6, .width = 256, .heads = 8, .positions = 1024, .pre_norm = true},
                  {{128}, 0, false, 65});

}  // namespace

}  // namespace lockstep
