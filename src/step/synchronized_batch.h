// All micro-batches of a rank walking in step, where layers take statistics over the whole batch of
// a training step (batch norm with `synchronized: true`). At every such layer the micro-batches'
// sums are added in the tree of gradients, first within the rank, then over the ranks, so that
// statistics have the same bits on any number of ranks. Costs the activations of all
// micro-batches of the rank at once; gradients meet after the last of them.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "io/loader/loader.h"
#include "src/job/job.h"
#include "src/plan/plan.h"

namespace lockstep {

class SynchronizedBatch {
 public:
  /// Whether a layer of the graph asks for it.
  static bool wanted(const Graph& graph);
  /// All but the job's numbers must outlive it. `options` are those of the replica's plans.
  SynchronizedBatch(const Job& job, const Graph& graph, const ParameterArena& arena, Communicator& comm,
                    PlanOptions options);

  void refresh_weights();
  /// Collective. Forward and backward of this rank's next micro-batches.
  void run(DataLoader& loader, int64_t step, float loss_scale = 1);
  Plan& plan(int64_t m) { return *members_[m].plan; }
  /// The gradients of micro-batch m alone, in the arena's layout.
  const float* gradients(int64_t m) const { return members_[m].gradients.as<float>(); }

 private:
  struct Member {
    std::unique_ptr<Plan> plan;
    Memory gradients;
    std::vector<Memory> data;  // copies of the loader's arrays, which the next micro-batch overwrites
    MicroBatch batch;          // with those arrays
    std::span<double> sums;    // of the layer it stands at
  };
  void read(Member& member, const MicroBatch& batch, int64_t step, float loss_scale);
  void add_sums();
  template <typename Continue>
  void walk(const Continue& next);

  Reduction reduction_;
  uint64_t seed_;
  int64_t micro_batch_;
  Communicator& comm_;
  std::vector<Member> members_;
  std::vector<int64_t> input_bytes_;  // per input, then per target
  std::vector<double> rows_;
};

}  // namespace lockstep
