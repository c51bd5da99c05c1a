// What a compiled plan consists of, shared by the files that build it (plan_compile.cpp: steps;
// plan_schedule.cpp: the order of calls; plan_memory.cpp: places; plan_bind.cpp: bindings;
// plan_out_of_memory.cpp: what is said when there is no room) and those that run it (plan.cpp,
// plan_walk.cpp).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/batch_norm.h"
#include "src/plan/plan.h"
#include "src/plan/plan_inputs.h"

namespace lockstep {

/// Source `slot` of a step: where a value is read. A step may read one value twice.
struct PlanEdge {
  int step = 0, slot = 0;
  auto operator<=>(const PlanEdge&) const = default;
};

/// One activation: an input of the graph or what a step wrote. Aliases name their root.
struct PlanValue {
  TensorDesc desc;
  int producer = -1;              // step; -1: an input or a target, bound from outside
  std::vector<PlanEdge> readers;  // ascending
  int root = -1;                  // the value whose memory this one uses (itself if none)
  bool wants_diff = false;
  int repeats = -1;  // computed again for backward: the value of the forward pass it equals
};

/// Gradients of one value from several readers: partials[0] receives the sum.
struct GradientSum {
  DType dtype = DType::kFloat32;
  int64_t n_elements = 0;
  std::vector<void*> partials;
};

struct PlanStep {
  std::string name;
  std::shared_ptr<Op> op;     // shared by a step and its repetition
  std::vector<int> src, dst;  // values
  int vertex = -1;            // whose parameters it reads; -1: none
  std::string note;           // fusion, for the print
  int repeats = -1;           // runs in the backward phase: the step of the forward phase it repeats
  bool runs_backward = false;
  int forward_time = -1, backward_time = -1;  // indices into the calls
  // Bound by bind():
  std::vector<Tensor> src_t, dst_t, params_t, diff_src_t, diff_dst_t, diff_params_t;
  std::vector<int64_t> param_offsets;
  std::vector<GradientSum> sums_of_gradients;  // of diff_dst, before backward
  BatchNorm* synchronized = nullptr;           // the op, where its sums are not its own
  bool is_as_evaluated = false;         // they are those of the running statistics, not of the whole batch
  std::vector<double> sums, diff_sums;  // of that op
  std::vector<bool> adds_params;        // of shared parameters diff_params_t lie beside, and are added
  OpArgs args;
  int64_t final_below = 0;         // arena elements [0, n) are final after its backward
  int64_t reads_from = INT64_MAX;  // of the arena's elements: the first that it reads
  PlanStepTimes times;
};

/// One call of the walk.
struct PlanCall {
  int step = 0;
  bool backward = false;
};

/// Steps [first, last) of the forward phase, and their repetition from `again` on (-1: none).
struct PlanUnit {
  int first = 0, last = 0, again = -1;
};

/// A stretch of the backward walk, up to where the host wants to know.
struct RecordedPart {
  std::unique_ptr<RecordedWork> work;
  int64_t final_below = 0;
};

/// Weights that arrive during the forward walk, stretch by stretch; see Plan::forward().
struct PlanArrivals {
  std::span<const int64_t> marks;
  int arrived;                             // this stretch and all above
  const std::function<void(int)>* arrive;  // null: only note which is wanted
  double waited_s = 0;
  /// Brings what a step reads; false where there is only a note of it, for the caller.
  bool bring(const PlanStep& step);
};

/// A stretch of the forward walk, before which weights arrive: `arrival` of them, -1 if none need to.
struct ArrivalPart {
  std::unique_ptr<RecordedWork> work;
  int arrival = -1;
};

struct PlanLoss {
  int step = -1, value = -1;  // value: the sums that it writes
};

/// A state of the graph: the value that holds it, and the one that it becomes, dense float32.
struct PlanState {
  int in = -1, out = -1;
  int64_t offset = 0;  // elements into the plan's states
};

struct Plan::Impl {
  const Graph& graph;
  const ParameterArena& arena;
  PlanOptions options;
  std::shared_ptr<Stream> stream;
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  std::vector<PlanUnit> units;  // in the order of the forward pass
  std::vector<PlanCall> forward_calls, backward_calls;
  size_t calls_before_loss = 0;    // of forward_calls
  std::vector<bool> is_trunk;      // per vertex; see Graph::trunk()
  std::vector<int> value_of;       // per vertex; -1: it has none of its own
  std::vector<int> input_values;   // per graph input, then the records of an augmentation
  std::vector<int> target_values;  // per target
  std::vector<PlanLoss> losses;
  std::vector<PlanState> states;
  int64_t state_elements = 0;
  Memory states_in;  // of all, at their offsets
  std::vector<int> zero_values;
  Memory zeros;  // as long as the largest of them
  int output_value = -1, n_fused = 0;
  std::vector<int> input_gradient_steps;  // views whose gradient is that of an input of numbers
  std::vector<Memory> input_gradients_on_host;
  std::vector<int> shown_values;
  std::vector<Memory> shown_on_host;
  int records_value = -1;                                   // of an augmentation
  std::vector<std::pair<int64_t, int64_t>> zero_gradients;  // (offset, n) of parameters no loss reaches
  std::array<double, kLossValues> loss_sums{};
  int64_t block_bytes = 0;  // known before there is memory
  std::shared_ptr<Memory> block, scratchpad;
  /// So many bytes: of the shared memory where that has them.
  std::shared_ptr<Memory> room_for(int64_t n_bytes, std::shared_ptr<Memory> PlanRoom::*shared) const;
  std::unique_ptr<PlanInputs> inputs;                    // of graph inputs, then of targets
  std::vector<const void*> staged;                       // their arrays on the host
  std::vector<const void*> batch_inputs, batch_targets;  // those of a loader's micro-batch
  Memory augment_records;  // of an augmentation: the array that the plan itself fills
  // What the host reads, and, on GPUs, work recorded once and repeated from then on.
  Memory losses_on_host, output_on_host;
  std::array<Memory, 2> judged_on_host;     // prediction and target of the first loss
  int64_t n_valid_staged = 0, n_valid = 0;  // rows of the micro-batch that is staged, and of the current one
  std::unique_ptr<RecordedWork> recorded_refresh;
  std::array<std::unique_ptr<RecordedWork>, 2> recorded_forward;                   // without losses, with
  std::map<std::pair<float*, bool>, std::vector<RecordedPart>> recorded_backward;  // gradients, with marks
  std::vector<ArrivalPart> recorded_arrivals;
  std::array<int, 4> n_plain_runs{};  // of refresh, forward, backward, arrivals, before they are recorded
  // The walk in progress.
  size_t next_call = 0;
  bool with_loss = false;
  bool has_sums = false;  // the next call's sums have been taken
  float* gradients = nullptr;
  int64_t announced = 0;
  bool stops = false;                // continue_backward returns after the call that it is at
  PlanArrivals* arrivals = nullptr;  // while weights are on their way
  /// Every bound tensor that views an input or target, to be pointed at the next micro-batch.
  std::vector<std::pair<int, Tensor*>> external;

  Impl(const Graph& g, const ParameterArena& a, const PlanOptions& o)
      : graph(g),
        arena(a),
        options(o),
        stream(o.stream ? o.stream : make_stream(o.config.device)),
        is_trunk(o.input_gradients ? std::vector<bool>(static_cast<size_t>(g.size())) : g.trunk()) {}

  bool is_cuda() const { return options.config.device.kind == Device::Kind::kCuda; }
  /// Whether work is recorded: not where the host takes part, or looks at the clock after each step.
  bool records() const;
  void wait_if_timed() {
    if (options.times_steps && is_cuda()) stream->synchronize();
  }
  /// Runs `submit`, recorded after it ran plainly before: the libraries prepare themselves in a first run.
  void run_recorded(std::unique_ptr<RecordedWork>& work, int& n_plain, const std::function<void()>& submit);

  // plan_walk.cpp
  /// The sums that the running statistics of a batch_norm would have come from.
  void sum_running_statistics(PlanStep& step);
  void forward_again(PlanStep& step);
  void prepare_backward(PlanStep& step);
  /// False where it stops for the sums over the whole batch.
  bool run_backward(PlanStep& step);
  void add_shared_gradients(PlanStep& step);

  // plan_compile.cpp
  void compile(const std::vector<LossSpec>& losses);
  void close_states();
  int add_value(TensorDesc desc, int producer);
  /// Appends a step and returns its first output value.
  int add_step(std::string name, std::shared_ptr<Op> op, std::vector<int> src, int vertex, std::string note);
  /// The value in the type and layout that the reader wants: itself, or behind a reorder step of the
  /// reader's own, so that sums of gradients do not depend on how blocks cut the graph.
  int in_form(int value, const TensorDesc& wanted);
  void repeat_steps(int first, int last);
  void synchronize(PlanStep& step);
  /// A view of that input, which takes its gradient.
  int with_gradient(int value);
  /// The augmented images of a graph input, whose array holds them as stored.
  int add_augmented(int vertex);
  /// A value with its samples mixed.
  int add_mixed(int value);

  // plan_schedule.cpp
  void schedule();
  /// The edges whose gradients sum to that of `value`, in the order of the forward pass.
  std::vector<PlanEdge> gradient_edges(int value) const;

  // plan_memory.cpp
  struct Places {
    std::vector<int64_t> value, workspace;  // bytes into the block; -1: none
    std::map<PlanEdge, int64_t> diff;
    std::map<int, std::vector<int64_t>> params;  // step -> beside the arena, per parameter; -1: in it
  };
  Places place_memory();

  // plan_bind.cpp
  void bind();

  // plan_out_of_memory.cpp
  /// Throws the error anew, with what the memory was for.
  [[noreturn]] void explain(const OutOfMemory& error) const;

 private:
  class Compiler;
};

}  // namespace lockstep
