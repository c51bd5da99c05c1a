// What a compiled plan consists of, shared by the files that build it (plan_compile.cpp: steps;
// plan_memory.cpp: places and bindings) and the one that runs it (plan.cpp).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/plan.h"

namespace lockstep {

/// Source `slot` of a step: where a value is read. A step may read one value twice.
struct PlanEdge {
  int step = 0, slot = 0;
  auto operator<=>(const PlanEdge&) const = default;
};

/// One activation: an input of the graph or what a step wrote. Aliases name their root.
struct PlanValue {
  TensorDesc desc;
  int producer = -1;              // step; -1: an input or the target, bound from outside
  std::vector<PlanEdge> readers;  // ascending
  int root = -1;                  // the value whose memory this one uses (itself if none)
  bool wants_diff = false;
};

struct PlanStep {
  std::string name;
  std::unique_ptr<Op> op;
  std::vector<int> src, dst;  // values
  int vertex = -1;            // whose parameters it reads; -1: none
  std::string note;           // fusion, for the print
  // Bound by bind():
  std::vector<Tensor> src_t, dst_t, params_t, diff_src_t, diff_dst_t, diff_params_t;
  std::vector<int64_t> param_offsets;
  std::vector<const float*> diff_partials;  // further readers' gradients of dst[0], summed before backward
  OpArgs args;
  int64_t final_below = 0;  // arena elements [0, n) are final after its backward
  bool runs_backward = false;
};

struct Plan::Impl {
  const Graph& graph;
  const ParameterArena& arena;
  PlanOptions options;
  std::unique_ptr<Stream> stream;
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  std::vector<int> input_values;  // per graph input
  int target_value = -1, loss_value = -1, output_value = -1;
  int loss_step = -1;
  Memory block, scratchpad;
  BatchContext batch;
  /// Every bound tensor that views an input, to be pointed at the next micro-batch.
  std::vector<std::pair<int, Tensor*>> external;

  Impl(const Graph& g, const ParameterArena& a, const PlanOptions& o)
      : graph(g), arena(a), options(o), stream(make_stream(o.config.device)) {}

  int add_value(TensorDesc desc, int producer);

  /// The value in the layout that the reader wants: itself, or behind a reorder step.
  int in_layout(int value, const TensorDesc& wanted, std::map<int, std::vector<int>>& reordered);

  /// Appends a step and returns its first output value.
  int add_step(std::string name, std::unique_ptr<Op> op, std::vector<int> src, int vertex, std::string note);

  void compile(const LossSpec& loss);
  void bind();
  void place_memory(std::vector<int64_t>& value_offset, std::map<PlanEdge, int64_t>& diff_offset,
                    std::vector<int64_t>& workspace_offset);
};

}  // namespace lockstep
