// The sync guard: proves that all ranks hold equal weights. Each tensor's 128-bit hash is compared over
// the ranks in one small reduction; only where hashes differ do ranks exchange them. Weights that
// drift apart (a flipped bit, a library that is not reproducible) are found within a few steps,
// with the tensor's and the ranks' names, before a checkpoint keeps them.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "src/network/arena.h"

namespace lockstep {

struct SyncVerdict {
  std::vector<std::string> tensors;  // that differ; empty: all is well
  std::vector<int> ranks;            // that differ from the most
  int good_rank = -1;  // one of more than half of the ranks, who agree in all; -1: there are none
  /// "the weights of rank 2 differ from those of the other ranks, in 'conv1.weight' and 3 more tensors"
  std::string str() const;
};

/// Collective; equal on all ranks. Compares the weights as the arena's host mirror has them: download it
/// first.
SyncVerdict compare_replicas(const ParameterArena& arena, Communicator& comm);

}  // namespace lockstep
