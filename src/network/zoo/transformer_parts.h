// Pieces that the transformers of the zoo share.
#pragma once

#include <optional>
#include <string>

#include "src/network/zoo/parts.h"

namespace lockstep {

/// Sizes of a transformer, as options.
struct TransformerSizes {
  int64_t layers = 6, width = 512, heads = 8;
  int64_t feed_forward = 0;  // 0: 4 width
  int64_t positions = 1024;
  double dropout = 0.1;
  bool pre_norm = false;  // normalises what each half of a block reads, not what it gives
  double epsilon = 1e-5;  // of layer norms
};
/// layers, width, heads, feed_forward, positions, dropout, norm (pre or post), epsilon. Throws Error where
/// the heads do not divide the width.
TransformerSizes read_transformer_sizes(const Config& options, const TransformerSizes& fallback);

/// Adds to `graph` behind vertices, and returns the new one.
class TransformerParts {
 public:
  TransformerParts(Graph& graph, const TransformerSizes& sizes,
                   std::optional<double> deviation = std::nullopt)
      : graph_(graph), sizes_(sizes), deviation_(deviation) {}

  int norm(const std::string& name, int x);
  /// (…, I) -> (…, features)
  int affine(const std::string& name, int x, int64_t features);
  /// Nothing for p = 0.
  int dropout(const std::string& name, int x);
  int add(const std::string& name, int a, int b);

  /// One half of a block, dst = x + dropout(body(x)), normalised where the sizes say; `body` adds the layers
  /// between. `name` is that of the sum.
  template <typename Body>
  int half(const std::string& name, const std::string& norm_name, int x, const Body& body) {
    const int read = sizes_.pre_norm ? norm(norm_name, x) : x;
    const int sum = add(name, x, dropout(name + "_dropout", body(read)));
    return sizes_.pre_norm ? sum : norm(norm_name, sum);
  }

 private:
  Graph& graph_;
  const TransformerSizes& sizes_;
  const std::optional<double> deviation_;
};

}  // namespace lockstep
