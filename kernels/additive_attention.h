// Additive attention (Bahdanau, Cho and Bengio 2015; course text 000): scores v · tanh(W [g; z]).
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct AdditiveAttentionDesc {
  TensorDesc query;   // (N, A)
  TensorDesc keys;    // (N, S, A)
  TensorDesc values;  // (N, S, E)
  bool has_lengths = false;
};

/// src = {query (N, A), keys (N, S, A), values (N, S, E), lengths (N) int32 if has_lengths}
/// dst = {context (N, E), weights (N, S)}, params = {v (A)}
///   e_s = v · tanh(query + keys_s), weights = softmax of e over s < length, 0 behind it,
///   context = sum_s weights_s values_s.
/// The two halves of W are products outside: query = W_g g, keys = W_z z + bias, so that keys are computed
/// once for all queries. Length 0, which rows of padding (BatchContext) have too, gives zeros and no
/// gradients; lengths beyond S count as S. Any diff_dst may be empty (zero), any diff_src (not wanted).
/// The gradient of v is summed over the steps of a row, then over the rows, in order.
std::unique_ptr<Op> make_additive_attention(const OpConfig& config, const AdditiveAttentionDesc& desc);

}  // namespace lockstep
