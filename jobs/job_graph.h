// The network of a job, as far as job and data tell.
#pragma once

#include <memory>

#include "src/run/job.h"
#include "src/run/run_setup.h"

namespace lockstep {

/// The graph of a job; the data tells its input where it can be opened, and then what augmentation comes to.
struct JobGraph {
  Graph graph;
  std::shared_ptr<const Augmentation> augmentation;

  explicit JobGraph(const Job& job);
};

/// Weights and the optimizer's states in a checkpoint, for a job that may be meant for a larger machine than
/// this one.
int64_t checkpoint_bytes(const Job& job);

}  // namespace lockstep
