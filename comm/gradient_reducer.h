// GradientReducer: sums gradients over ranks bucket by bucket while backward goes on.
//
// A bucket is one contiguous range of the gradient arena. When backward has written a
// bucket's last gradient (of the step's last micro-batch) the trainer calls
// bucket_ready(); a comm thread with a duplicated communicator then runs the tree
// all-reduce in place, for gradients on a GPU in page-locked memory of the host. Invariant: the result is the
// fixed binary tree over ranks whatever the bucket sizes, the order of calls being equal on all ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "kernels/device.h"

namespace lockstep {

enum class Reduction : uint8_t { kTree, kNative };

/// Elements [begin, end) of the gradient arena.
struct Bucket {
  int64_t begin = 0, end = 0;
};

/// Cuts [0, n_elements) into buckets at the given segment borders (ascending offsets, first
/// 0, last n_elements): a first bucket of at least first_bytes, then of at least bucket_bytes.
std::vector<Bucket> make_buckets(std::span<const int64_t> borders, int64_t first_bytes, int64_t bucket_bytes);

class GradientReducer {
 public:
  /// Collective (duplicates `comm`). With one rank it does nothing and starts no thread. device: where
  /// the gradients lie.
  GradientReducer(Communicator& comm, Reduction reduction, std::vector<Bucket> buckets, Device device = {});
  ~GradientReducer();

  const std::vector<Bucket>& buckets() const;

  /// Hands bucket `index` of `gradients` (the whole arena) to the comm thread, as the work submitted to
  /// the stream so far leaves it (null: as it is now; the CPU's). Does not wait. Each index once between two
  /// calls of wait(). The arena must outlive the reducer, also while an exception unwinds: declare it first.
  void bucket_ready(int index, float* gradients, Stream* stream = nullptr);
  /// Returns once every bucket handed in so far is reduced, on the device too. Throws what the comm thread
  /// threw. Returns the seconds waited: the communication that backward did not hide.
  double wait();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
