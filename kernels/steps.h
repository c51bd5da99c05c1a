// Sequences (N, T, …) cut into steps (N, …) and put together again. A row's length is the number of its first
// steps that are valid: where an op has no lengths it is T, lengths beyond T count as T, negative ones as 0,
// and rows of padding (BatchContext) have length 0. Lengths are int32 and have no gradient.
//
// All of them move elements: float32 and narrower floats in config.compute, or int32, which has no gradient.
// Sources and results are dense. Any diff_dst may be empty (zero), any diff_src (not wanted).
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// src (N, T, …) -> T results (N, …), step after step.
std::unique_ptr<Op> make_split_steps(const OpConfig& config, const TensorDesc& src);

/// n_steps sources, each `step` (N, …), -> dst (N, n_steps, …).
std::unique_ptr<Op> make_join_steps(const OpConfig& config, const TensorDesc& step, int64_t n_steps);

struct PickStepDesc {
  TensorDesc src;  // (N, T, …)
  bool has_lengths = false;
  bool first = false;
};
/// src = {(N, T, …), lengths (N) if has_lengths} -> dst (N, …): the last valid step of each row, or the
/// first; zeros where the length is 0.
std::unique_ptr<Op> make_pick_step(const OpConfig& config, const PickStepDesc& desc);

struct SelectRowsDesc {
  TensorDesc rows;   // (N, …)
  int64_t step = 0;  // t
};
/// src = {updated (N, …), old (N, …), lengths (N)} -> dst (N, …): row n is updated where t < length, else
/// old.
std::unique_ptr<Op> make_select_rows(const OpConfig& config, const SelectRowsDesc& desc);

struct ReverseStepsDesc {
  TensorDesc src;  // (N, T, …)
  bool has_lengths = false;
};
/// src = {(N, T, …), lengths (N) if has_lengths} -> dst (N, T, …): each row's valid steps in reverse, then
/// zeros.
std::unique_ptr<Op> make_reverse_steps(const OpConfig& config, const ReverseStepsDesc& desc);

struct MeanStepsDesc {
  TensorDesc src;  // (N, T, …), floating point
  bool has_lengths = false;
};
/// src = {(N, T, …), lengths (N) if has_lengths} -> dst (N, …): the mean over each row's valid steps, summed
/// in their order; zeros where the length is 0.
std::unique_ptr<Op> make_mean_steps(const OpConfig& config, const MeanStepsDesc& desc);

}  // namespace lockstep
