// GradientReducer: sums gradients over ranks bucket by bucket while backward goes on.
//
// A bucket is one contiguous range of the gradient arena. When backward has written a
// bucket's last gradient (of the step's last micro-batch) the trainer calls
// bucket_ready(), and the bucket is all-reduced in place: by a comm thread over MPI, or, where each rank has
// a GPU of its own and NCCL, on a stream of that GPU (reduction_path.h). Invariant: the result is the fixed
// binary tree over ranks whatever the path and the bucket sizes, the order of calls being equal on all ranks.
//
// With sharded optimizer state each rank needs only the sums of the ranges that it updates: buckets are then
// reduced and scattered, and after the update gather() brings the weights together again (Rajbhandari et al.,
// "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020, stage 1).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/element_range.h"
#include "kernels/device.h"

namespace lockstep {

/// Of the gradient arena.
using Bucket = ElementRange;

/// Cuts [0, n_elements) into buckets at the given segment borders (ascending offsets, first
/// 0, last n_elements): a first bucket of at least first_bytes, then of at least bucket_bytes.
std::vector<Bucket> make_buckets(std::span<const int64_t> borders, int64_t first_bytes, int64_t bucket_bytes);

struct ReducerOptions {
  bool scatters = false;       // only the sums of own_ranges() are wanted
  Wire wire = Wire::kFloat32;  // kBFloat16: kTree only, of values that bfloat16 can hold
};

class GradientReducer {
 public:
  /// Collective. With one rank it does nothing and starts no thread. device: where the gradients lie.
  GradientReducer(Communicator& comm, Reduction reduction, std::vector<Bucket> buckets, Device device = {},
                  const ReducerOptions& options = {});
  ~GradientReducer();

  const std::vector<Bucket>& buckets() const;
  /// How gradients travel, equal on all ranks: "MPI tree", "NCCL 2.28.9 tree", "MPI tree through host memory
  /// (several ranks share a GPU)". "" with one rank.
  const std::string& way() const;

  /// Memory for the whole arena (zeros) that the ranks of a host share: buckets in it are reduced without
  /// copies. Null where there is none; it lives as long as the reducer.
  float* shared_gradients() const;

  /// The elements whose sums this rank gets: ascending, all of the buckets unless it scatters. Those of all
  /// ranks make up the arena; borders within buckets are multiples of kPartAlignment after their begins.
  const std::vector<ElementRange>& own_ranges() const;

  /// Begins to sum bucket `index` of `gradients` (the whole arena), as the work submitted to
  /// the stream so far leaves it (null: as it is now; the CPU's). Does not wait. Each index once between two
  /// calls of wait(). The arena must outlive the reducer, also while an exception unwinds: declare it first.
  void bucket_ready(int index, float* gradients, Stream* stream = nullptr);
  /// Where it scatters: begins to give bucket `index` of own_ranges() of `array`, which has the arena's
  /// layout, to all ranks, as the work submitted to the stream so far leaves it. Does not wait.
  void gather(int index, float* array, Stream* stream = nullptr);
  /// As wait(), for bucket `index` and those handed in before it; wait() still has to follow.
  void wait_for(int index, Stream* stream = nullptr);
  /// What is submitted to the stream afterwards, and without a stream or with a comm thread also the caller,
  /// finds every bucket handed in so far reduced or gathered. Throws what went wrong on the way. Returns the
  /// seconds that the caller waited: with a comm thread the communication that backward did not hide.
  double wait(Stream* stream = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
