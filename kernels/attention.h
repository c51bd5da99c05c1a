// Multi-head attention: softmax(q k^T / sqrt(D / heads)) v of each head (Vaswani et al. 2017).
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct AttentionDesc {
  TensorDesc query;         // (N, Tq, D); packed: (N, T, 3 D), of each step the query, the key and the value
  TensorDesc keys, values;  // (N, Tk, D); unset where packed
  bool packed = false;
  int64_t heads = 1;           // divides D; head h is columns [h D / heads, (h + 1) D / heads)
  bool causal = false;         // query i sees keys j <= i (with a cache, j <= first_step + i)
  bool has_lengths = false;    // of the keys
  bool self = false;           // queries are steps of the keys' own sequence; packed implies it
  double dropout = 0;          // of weights, in training
  uint64_t key = 0;            // of the layer: hash_name() of its name
  bool wants_weights = false;  // evaluation only
  int64_t cache_steps = 0;     // evaluation only: the op remembers keys and values of so many steps
};

/// src = {packed} or {query, keys, values}, then lengths (N) int32 if has_lengths
/// dst = {context (N, Tq, D)}, then weights (N, heads, Tq, Tk) if wants_weights
///
/// Keys at or behind a sample's length are not seen; where queries are of the same sequence (packed, self),
/// those behind it give zeros and have no gradient. So do queries that see no key and rows of padding
/// (BatchContext). Lengths beyond Tk count as Tk. Any diff_src may be empty (not wanted).
///
/// dropout = p: in training a weight is 0 with probability p, else divided by 1 - p. Weight (h, i, j) of a
/// sample is element e = (h Tq + i) Tk + j of the rule in dropout.h.
///
/// No matrix of Tq x Tk is kept: tiles of it are computed, and computed again by backward() from the
/// logarithm of each query's sum of exponentials (Dao et al. 2022, FlashAttention), which lies in the
/// workspace, (N, heads, Tq) float32. Each sum over keys or queries goes in order; what a sample gets does
/// not depend on the others.
///
/// With cache_steps, evaluation goes on from call to call: a call writes its Tq keys and values behind the
/// `first_step` earlier ones and attends to all of them; first_step = 0 begins anew. If BatchContext has
/// `parents`, sample n first takes over what sample parents[n] had (beam search). The results are those
/// of one call with all steps.
std::unique_ptr<Op> make_attention(const OpConfig& config, const AttentionDesc& desc);

}  // namespace lockstep
