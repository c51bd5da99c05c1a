// Plan: a graph compiled for a device and one micro-batch size. Compiling fixes the order of
// ops, fuses activations into their predecessor, inserts reorders where layouts differ,
// and places every activation, gradient and workspace in one block of memory. Running a
// plan walks its steps; nothing is allocated and nothing is chosen.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/op.h"
#include "src/arena.h"
#include "src/graph.h"
#include "src/loss.h"

namespace lockstep {

struct PlanOptions {
  OpConfig config;           // device, training or evaluation
  int64_t micro_batch = 1;   // N
  bool reuse_memory = true;  // false: every buffer has its own place (must give equal bits)
  bool fuse = true;          // false: activations stay steps of their own
};

class Plan {
 public:
  /// `graph` and `arena` must outlive the plan. Throws Error if an op refuses its shapes.
  Plan(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const PlanOptions& options);
  ~Plan();

  /// Refreshes packed weights; call after every change of the arena's weights.
  void refresh_weights();

  /// Runs forward and the loss for one micro-batch.
  ///   inputs  one dense (N, sample shape) float32 array per graph input, read in place and
  ///           needed until backward() returns
  ///   target  (N) int64 class ids or (N, …) float32; null: no loss is computed
  void forward(const std::vector<const void*>& inputs, const void* target, const BatchContext& batch);

  /// Runs backward and writes every parameter gradient into `gradients`, an array with the
  /// arena's layout. `final_below(n)` is called whenever elements [0, n) have become final.
  void backward(float* gradients, const std::function<void(int64_t)>& final_below);

  /// After forward(): the sums of this micro-batch, indexed by LossValue.
  const double* loss_values() const;
  /// After forward(): the network's output (N, …), dense float32.
  const float* output() const;
  const Shape& output_shape() const;  // with N

  int64_t activation_bytes() const;  // activations, gradients of activations, workspaces
  int64_t scratchpad_bytes() const;
  /// Forward and backward seconds since construction, measured around the walks.
  double forward_s() const { return forward_s_; }
  double backward_s() const { return backward_s_; }

  /// The plan as a table, one line per step: op, shapes, fusion, layout, memory.
  std::string str() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  double forward_s_ = 0, backward_s_ = 0;
};

}  // namespace lockstep
