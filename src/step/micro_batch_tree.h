// Sums the gradients of a rank's micro-batches in the fixed binary tree.
//
// Micro-batches come in order; like the digits of a binary counter, a finished pair is
// added at once, so log2(n) partial sums are kept instead of n. Ranks hold aligned subtrees,
// and the all-reduce goes on with the same tree: the sum of a step has the same bits on any
// number of ranks (tests/src/micro_batch_tree_test.cpp). Where gradients travel as bfloat16, every leaf and
// every sum is rounded to it, so that this stays true.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "src/network/arena.h"

namespace lockstep {

class MicroBatchTree {
 public:
  /// feedback: with bfloat16, what rounding takes from a micro-batch's gradient is added to the next step's.
  MicroBatchTree(const ParameterArena& arena, int64_t n_micro, Wire wire = Wire::kFloat32,
                 bool feedback = false);

  /// The array that backward of the rank's micro-batch m in [0, n_micro) writes to.
  float* target(int64_t m);
  /// Adds what is pending below micro-batch m to elements [begin, end), each element once. For the last
  /// micro-batch this completes result() there; for others call it on the whole arena.
  void merge(Stream& stream, int64_t m, int64_t begin, int64_t end);
  /// The sum over the rank's micro-batches.
  float* result() const { return result_; }
  /// Puts result() there, zeros of the arena's size which outlive the last call; before the first
  /// micro-batch.
  void place_result(float* memory);
  int64_t n_micro() const { return n_micro_; }
  /// With feedback, per micro-batch of this rank: what the next step gets. A part of the run's state.
  const std::vector<Memory>& residuals() const { return residuals_; }

 private:
  int64_t n_micro_;
  Wire wire_;
  std::vector<Memory> residuals_;
  Memory own_result_;
  float* result_;
  std::vector<Memory> levels_;  // levels_[k]: sum of 2^k micro-batches waiting for its sibling
};

/// The same tree over rows of doubles: rows (n_micro, n_values) are summed into row 0.
void tree_sum_rows(double* rows, int64_t n_rows, int64_t n_values);

}  // namespace lockstep
