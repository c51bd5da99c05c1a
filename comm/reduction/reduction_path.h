// One way of summing buckets over ranks: siblings behind GradientReducer. comm_thread.cpp runs MPI on a
// thread of its own (the CPU's gradients; those of GPUs through page-locked memory of the host),
// nccl_path.cpp submits NCCL's work to a stream of its own. Only comm includes this.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/reduction/gradient_reducer.h"

namespace lockstep {

class ReductionPath {
 public:
  virtual ~ReductionPath() = default;
  /// As GradientReducer's.
  virtual float* shared_gradients() const { return nullptr; }
  /// Where it scatters: of bucket `index`, counted from its begin.
  virtual std::vector<ElementRange> own_parts(size_t index) const = 0;
  /// Begins to sum bucket `index`, n_elements at data, in place: as the work submitted to the stream so far
  /// leaves it (null: as it is now). Does not wait.
  virtual void start(size_t index, float* data, int64_t n_elements, Stream* stream) = 0;
  /// Where it scatters: begins to give own_parts() to all ranks, in the same way.
  virtual void gather(size_t index, float* data, int64_t n_elements, Stream* stream) = 0;
  /// As wait(), for bucket `index` and those started before it.
  virtual void wait_for(size_t index, Stream* stream) = 0;
  /// What is submitted to the stream from now on, and where the stream is null the caller, finds every
  /// started bucket summed or gathered. Throws what went wrong.
  virtual void wait(Stream* stream) = 0;
};

/// Collective. all_on_cpu: of all ranks; then they may share gradients.
std::unique_ptr<ReductionPath> make_comm_thread(Communicator& comm, Reduction reduction,
                                                const std::vector<Bucket>& buckets, Device device,
                                                const ReducerOptions& options, bool all_on_cpu);

}  // namespace lockstep
