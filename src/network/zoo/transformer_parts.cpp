#include "src/network/zoo/transformer_parts.h"

#include <fmt/format.h>

namespace lockstep {

TransformerSizes read_transformer_sizes(const Config& options, const TransformerSizes& fallback) {
  TransformerSizes sizes;
  sizes.layers = size_or(options, "layers", fallback.layers);
  sizes.width = size_or(options, "width", fallback.width);
  sizes.heads = size_or(options, "heads", fallback.heads);
  sizes.feed_forward =
      size_or(options, "feed_forward", fallback.feed_forward > 0 ? fallback.feed_forward : 4 * sizes.width);
  sizes.positions = size_or(options, "positions", fallback.positions);
  sizes.dropout = read_dropout(options, fallback.dropout);
  sizes.pre_norm = options.get_choice("norm", fallback.pre_norm ? "pre" : "post", {"pre", "post"}) == "pre";
  sizes.epsilon = options.get_double("epsilon", fallback.epsilon);
  if (!(sizes.epsilon > 0))
    throw options.error_at("epsilon", fmt::format("must be positive, found {}", sizes.epsilon),
                           "the usual one is 1e-5");
  if (sizes.width % sizes.heads != 0)
    throw options.error_at(options.has("heads") ? "heads" : "width",
                           fmt::format("{} heads do not divide the width {}", sizes.heads, sizes.width),
                           "take a number of heads that divides it, such as 8 for 256");
  return sizes;
}

int TransformerParts::norm(const std::string& name, int x) {
  return graph_.add(name, layer_norm_layer(1, sizes_.epsilon), {x});
}

int TransformerParts::affine(const std::string& name, int x, int64_t features) {
  return graph_.add(name, affine_layer({.features = features, .each_step = true, .deviation = deviation_}),
                    {x});
}

int TransformerParts::dropout(const std::string& name, int x) {
  return sizes_.dropout > 0 ? graph_.add(name, dropout_layer(sizes_.dropout), {x}) : x;
}

int TransformerParts::add(const std::string& name, int a, int b) {
  return graph_.add(name, add_layer(), {a, b});
}

}  // namespace lockstep
