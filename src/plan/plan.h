// Plan: a graph compiled for a device and one micro-batch size. Compiling fixes the order of
// ops, fuses activations and residual sums into their predecessor, inserts reorders where
// layouts or types differ, repeats blocks whose activations are not kept, and places every
// activation, gradient and workspace in one block of memory. Running a plan walks its calls;
// nothing is allocated and nothing is chosen.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/loader/loader.h"
#include "kernels/mix.h"
#include "kernels/op.h"
#include "src/losses/loss.h"
#include "src/metrics/metric.h"
#include "src/network/arena.h"
#include "src/network/graph.h"

namespace lockstep {

class Augmentation;

/// Which update of which run a micro-batch belongs to: what random numbers and float16 gradients depend on.
struct StepKey {
  uint64_t seed = 0;
  int64_t step = 0;
  float loss_scale = 1;
};

/// Memory of plans that never run at the same time.
struct PlanRoom {
  std::shared_ptr<Memory> block, scratchpad;
};

struct PlanOptions {
  OpConfig config;                 // device, training or evaluation, type of activations
  int64_t micro_batch = 1;         // N
  bool reuse_memory = true;        // false: every buffer has its own place (must give equal bits)
  bool fuse = true;                // false: activations and sums stay steps of their own
  std::shared_ptr<Stream> stream;  // null: one of its own
  bool times_steps = false;        // GPUs: wait after every step, for step_times()
  bool synchronize = false;        // layers that ask for it take statistics over all micro-batches of a step
  std::shared_ptr<const Augmentation> augmentation;  // of one input, which arrives as stored; null: none
  MixOptions mix;                  // of the first input's samples, and of the losses with them
  bool keeps_judged = false;       // judged() can be asked after backward too
  std::shared_ptr<PlanRoom> room;  // that it shares with others; null: its own
  bool keeps_shown = false;        // shown() can be asked
  /// backward() is that of the network as it is in evaluation (running statistics, nothing dropped, no frozen
  /// trunk), down to the inputs: input_gradient() can be asked. `config.training` is true.
  bool input_gradients = false;
  /// Evaluation step by step: layers that look back keep so many steps of what they have seen, and stage()
  /// says in BatchContext::first_step how many there are. 0: a call sees whole sequences.
  int64_t cache_steps = 0;
};

/// Seconds that one step has taken since the plan was made.
struct PlanStepTimes {
  std::string step;  // its name and what is fused into it
  double prepare = 0, forward = 0, backward = 0;
  double gradient_sums = 0;  // of its output's gradients, where several steps read it
  double total() const { return prepare + forward + backward + gradient_sums; }
  /// Adds factor * other; the name stays.
  void add(const PlanStepTimes& other, double factor = 1);
};

struct PlanStep;
struct RecordedPart;

class Plan {
 public:
  /// `graph` and `arena` must outlive the plan. Throws Error if an op refuses its shapes.
  /// losses: the first one's sums are reported, their gradients are added. A loss reads the vertex
  /// that its `of` names (else the graph's output); see LossSpec.
  Plan(const Graph& graph, const ParameterArena& arena, const std::vector<LossSpec>& losses,
       const PlanOptions& options);
  Plan(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const PlanOptions& options)
      : Plan(graph, arena, std::vector<LossSpec>{loss}, options) {}
  ~Plan();

  /// Refreshes packed weights; call after every change of the arena's weights.
  void refresh_weights();

  /// Names the next micro-batch; on a GPU its way to the device starts, beside what is being computed.
  ///   inputs   one dense (N, sample shape) float32 array of the host per graph input; needed until
  ///            wait_staged() returns, on the CPU until backward() does: there they are read in place.
  ///            The input that is augmented comes as stored (Augmentation::Source)
  ///   targets  per loss that does not compare with a graph input, (N, …) int64 class ids or
  ///            float32; empty: no loss is computed
  ///   epoch    of the sampler, which an augmentation depends on
  void stage(const std::vector<const void*>& inputs, const std::vector<const void*>& targets,
             const BatchContext& batch, int64_t epoch = 0);
  /// The same of a loader whose fields are those inputs and then those targets, or the inputs alone; the
  /// batch is needed as long as those arrays.
  void stage(const MicroBatch& batch, const StepKey& key);
  void wait_staged();

  /// Floats of the graph's states for a micro-batch, one state (N, …) after the other; 0: it has none.
  int64_t state_elements() const;
  /// Before forward(): the states start with these, state_elements() floats of the device; null: with 0.
  void set_states(const float* from);
  /// After forward(): what the states have become.
  void get_states(float* to);

  /// Runs forward and the losses for the staged micro-batch.
  void forward();
  /// The same while weights are still on their way; stands for refresh_weights(), too. `arrive(k)` is called
  /// before the first op that reads elements below marks[k] (ascending; the last one is the arena's end) and
  /// not below marks[k - 1]: when it returns, or where it submitted a wait to the stream, elements from
  /// marks[k - 1] (0 for k = 0) on are there. k descends, and may leave numbers out. Not where
  /// synchronizes().
  void forward(std::span<const int64_t> marks, const std::function<void(int)>& arrive);
  void forward(const std::vector<const void*>& inputs, const std::vector<const void*>& targets,
               const BatchContext& batch);

  /// Runs backward and writes every parameter gradient into `gradients`, an array of the device with
  /// the arena's layout. `final_below(n)` is called when elements [0, n) are final, or the work that
  /// makes them so is submitted: for the first n at or above each of `marks` (ascending); without marks
  /// on the CPU as often as n grows, on a GPU at the end.
  void backward(float* gradients, const std::function<void(int64_t)>& final_below,
                std::span<const int64_t> marks = {});

  /// Whether an op takes statistics over the whole batch (PlanOptions::synchronize). Then one plan per
  /// micro-batch walks in step with the others: stage, start_…, and continue_… until it returns nothing.
  /// A span that comes back holds this micro-batch's sums; the caller replaces them by the sums
  /// over all micro-batches before it continues. Without such ops they run through at once.
  bool synchronizes() const;
  void start_forward();
  std::span<double> continue_forward();
  void start_backward(float* gradients);
  std::span<double> continue_backward(const std::function<void(int64_t)>& final_below);

  /// After forward(): the sums of this micro-batch, indexed by LossValue. With several losses
  /// kLossSum is their weighted sum, the rest is of the first. On a GPU it waits for all submitted work.
  const double* loss_values();
  /// After forward(): the network's output (N, …), dense float32, for the host. On a GPU it waits too,
  /// and copies.
  const float* output();
  const Shape& output_shape() const;  // with N
  /// The same of a value that the graph shows, by its place among Graph::shown().
  const float* shown(size_t i);
  const Shape& shown_shape(size_t i) const;
  /// After backward() of a plan with input_gradients: of the graph's input of numbers i, (N, …) dense
  /// float32, for the host; until the next forward(). On a GPU it waits too, and copies.
  const float* input_gradient(size_t i);
  /// After forward() with losses: what the first loss saw, and loss_values(). With `compares`, prediction and
  /// target for the host, which on a GPU waits and copies, until the next stage() on the CPU, the next
  /// forward() on a GPU.
  Judged judged(bool compares);

  /// After forward() gave a loss that is not finite: runs it again and names what was not finite
  /// first: an input, the parameter of a layer, or a layer's output.
  std::string first_not_finite();

  int64_t activation_bytes() const;  // activations, gradients of activations, workspaces
  int64_t scratchpad_bytes() const;
  /// Bytes of the value that a vertex leaves (0: fused into its reader, or a view).
  int64_t value_bytes(int vertex) const;
  int n_steps() const;
  int n_fused() const;  // vertices that became part of another's step
  /// Forward and backward seconds since construction, measured around the walks.
  double forward_s() const { return forward_s_; }
  double backward_s() const { return backward_s_; }
  /// The same per step, in the order of str().
  std::vector<PlanStepTimes> step_times() const;

  /// The plan as a table, one line per step: op, shapes, fusion, layout, memory.
  std::string str() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  const float* on_host(int value, Memory& memory);
  void prepare(PlanStep& step);
  void record_backward(float* gradients, const std::function<bool(int64_t)>& passes_mark,
                       std::vector<RecordedPart>& parts);
  double forward_s_ = 0, backward_s_ = 0;
};

}  // namespace lockstep
