// Rows of a table, looked up by integers (Bengio et al. 2003).
#pragma once

#include <memory>
#include <optional>

#include "kernels/op.h"

namespace lockstep {

struct EmbeddingDesc {
  TensorDesc ids;                                    // (N, …) int32
  int64_t vocabulary = 0;                            // V
  int64_t width = 0;                                 // W
  std::optional<int64_t> padding_id = std::nullopt;  // its row of the table gets no gradient
};

/// src = {ids (N, …) int32}, dst (N, …, W) = rows of params = {weight (V, W)}. The gradient of a row is the
/// sum over the places that looked it up, in their order in memory; places of padding (BatchContext) and of
/// padding_id count nothing. Ids outside of [0, V), which the loader refuses, give rows of NaN and no
/// gradient.
std::unique_ptr<Op> make_embedding(const OpConfig& config, const EmbeddingDesc& desc);

}  // namespace lockstep
