// Replica: one rank's copy of everything that a training step needs: graph, weights, plan,
// gradient tree, reducer and optimizer. step() is the life of a mini-batch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction/gradient_reducer.h"
#include "io/loader/loader.h"
#include "src/plan/plan_set.h"
#include "src/step/carried_states.h"
#include "src/step/micro_batch_tree.h"
#include "src/step/step_options.h"
#include "src/step/sync_guard.h"
#include "src/step/synchronized_batch.h"
#include "src/update/clip.h"
#include "src/update/loss_scale.h"
#include "src/update/optimizer.h"

namespace lockstep {

/// Sums over the global batch of one step, equal on all ranks, and this rank's times.
struct StepResult {
  double loss = 0;        // mean over the samples
  double accuracy = 0;    // classification: share of correct rows
  MetricMeans metrics{};  // of the job, in its order
  int64_t n_samples = 0;
  bool stop_requested = false;  // some rank has received a stop signal
  bool flagged = false;         // some rank passed flag = true
  double lr = 0;
  bool overflowed = false;  // float16: the gradients did, and no update was made
  std::string
      not_finite;  // where a loss that is not finite came from, with the rank; then no update was made
};

/// Seconds of this rank since construction.
struct StepTimes {
  double data_wait = 0, forward = 0, backward = 0, communication = 0, update = 0;
};

struct ReplicaOptions {
  bool times_steps = false;  // GPUs wait after every step of the plan, for step_times()
  std::shared_ptr<const Augmentation> augmentation;  // the loader of step() delivers its input as stored
  /// The same network for shorter sequences, in the order of the loader's buckets but for the last one, which
  /// is the replica's own graph.
  std::vector<Graph> shorter;
  std::string communication_plan;  // the file that keeps measured sizes of buckets; "": none does
};

class Replica {
 public:
  /// Collective. Compiles the plan and initialises the weights from the job's seed.
  Replica(const StepOptions& job, Graph graph, Communicator& comm, const ReplicaOptions& options = {});

  /// Runs update number `step` (from 0) with this rank's next micro-batches. Collective.
  /// total_steps: of the run, for the schedule. `flag` of any
  /// rank comes back on all ranks (a clock says that a checkpoint is due).
  StepResult step(DataLoader& loader, int64_t step, int64_t total_steps, bool flag = false);

  /// Of steps from now on: a factor on the scheduled rate.
  void set_rate_factor(double factor) { rate_factor_ = factor; }
  /// Called by every step before it changes weights, optimizer state or residuals for the first time, or
  /// anew.
  void set_before_update(std::function<void()> before_update) { before_update_ = std::move(before_update); }
  /// Collective. Waits for the weights that other ranks updated, which else arrive under the next forward
  /// pass. Before anybody but step() looks at weights.
  void settle_weights();
  /// Takes weights and optimizer state from the host after a checkpoint was read, and refreshes packed
  /// weights.
  void upload_state();
  /// Collective. Compares the weights of all ranks; downloads them.
  SyncVerdict compare_weights();
  /// Collective, after compare_weights() found a good rank: all ranks take its weights and optimizer state
  /// (sharded state exists once, and stays).
  void restore_from(int rank);

  const StepOptions& job() const { return job_; }
  const Graph& graph() const { return graph_; }
  const ParameterArena& arena() const { return arena_; }
  Optimizer& optimizer() { return optimizer_; }
  Communicator& comm() { return comm_; }
  /// What error feedback keeps; empty without it.
  const std::vector<Memory>& residuals() const { return gradients_.residuals(); }
  /// The same as the host sees it.
  const std::vector<std::unique_ptr<HostMirror>>& host_residuals() const { return residuals_; }
  /// Those of a network that carries its state from step to step.
  const CarriedStates& states() const { return states_; }
  const GradientReducer& reducer() const { return reducer_; }
  /// The stream that step() submits its work to.
  Stream& stream() { return *stream_; }
  StepTimes times() const;
  /// float16: the factor of gradients; part of what a checkpoint keeps.
  const LossScale& loss_scale() const { return loss_scale_; }
  void set_loss_scale(const LossScale& scale) { loss_scale_ = scale; }
  /// Per step of the plan, over all micro-batches.
  std::vector<PlanStepTimes> step_times() const;
  /// Euclidean norm of the last step's mean gradient, before it was clipped by its norm. Collective where the
  /// optimizer is sharded.
  double gradient_norm();

 private:
  void run_micro_batches(DataLoader& loader, int64_t step);
  /// Hands the loader's next micro-batch, of that step, to the plan.
  void stage(DataLoader& loader, int64_t step);
  void read_losses(Plan& plan, int64_t m);
  /// Tells other ranks that this one may wait for them, where a GPU sums gradients.
  void wait_for_gpu(const std::function<void()>& wait);
  void start_buckets(int64_t final_below);
  /// float16: whether the gradients did, on any rank.
  bool overflowed();
  void refresh_weights();
  void weights_changed();
  void gather(float* array);
  void clip_gradients(int64_t step, int64_t steps_per_epoch);
  void forward_as_weights_arrive(int bucket);

  const StepOptions& job_;
  Communicator& comm_;
  Graph graph_;
  std::vector<Graph> shorter_;
  ParameterArena arena_;
  std::shared_ptr<Stream> stream_;
  std::unique_ptr<PlanSet> plans_;
  std::unique_ptr<SynchronizedBatch> together_;  // where layers take statistics over the whole batch
  const int64_t n_gradients_;  // elements of the arena that have gradients: all but a frozen trunk's
  MicroBatchTree gradients_;
  std::vector<std::unique_ptr<HostMirror>> residuals_;  // of gradients_
  CarriedStates states_;
  GradientReducer reducer_;
  Optimizer optimizer_;
  Clip clip_;
  UpdateRanges statistics_;                  // running averages
  std::vector<int64_t> marks_;               // ends of buckets, where several ranks reduce them
  bool weights_arrive_ = false;              // from other ranks, bucket by bucket
  const DataLoader* staged_from_ = nullptr;  // a plan holds a micro-batch of it
  int bucket_ = 0;                           // that plan
  size_t buckets_started_ = 0;
  int64_t merged_ = 0;             // elements of the last micro-batch already merged
  int64_t row_size_;               // values of a step: of the loss, signals, metrics
  std::vector<double> loss_rows_;  // (n_micro, row_size_)
  std::function<void()> before_update_ = [] {};
  std::string not_finite_;  // of this rank, in this step
  LossScale loss_scale_;
  int64_t step_ = 0;  // that runs
  double grad_scale_ = 1, rate_factor_ = 1;
  StepTimes times_;
};

}  // namespace lockstep
