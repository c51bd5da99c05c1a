// What a run needs before its first step: opened data, the graph, and what both say of each other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "src/data/data.h"
#include "src/run/checkpoints/data_identity.h"

namespace lockstep {

struct RunSetup {
  Job job;  // with what its losses ask of the data
  JobData data;
  Graph graph;
  std::vector<Graph>
      shorter;  // for sequences of unequal lengths: each length but the longest, which is graph's
  int64_t steps_per_epoch = 0;
  std::shared_ptr<const Augmentation> augmentation;
  DataIdentity identity;
  std::string surplus_classes;  // rank 0: a warning, or ""

  /// Collective. On rank 0 first, so that a mistake in the job is one message (AgreedError), then everywhere.
  RunSetup(const Job& job, Communicator& comm);

  LoaderOptions loader_options(const Job& job, int rank, int size) const;
};

}  // namespace lockstep
