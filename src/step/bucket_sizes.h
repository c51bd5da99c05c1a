// How large the buckets of gradients are: small ones start their way earlier under the backward pass, large
// ones use the network better. Which is which depends on ranks, hosts and network, so it is measured once at
// the start of a run, and kept in the run folder for its resumes. No bit depends on it.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "src/network/arena.h"
#include "src/step/step_options.h"

namespace lockstep {

/// Of gradients in the order in which backward makes them final: the first bucket, and the others.
struct BucketSizes {
  int64_t first_bytes = int64_t{1} << 20, bytes = int64_t{25} << 20;
};

/// Collective, equal on all ranks. What the job says; where it says `auto`, what the file at `path` (may be
/// "") says if it was measured for as many ranks, hosts, and such devices; else measures and writes that
/// file. Gradients of less than a MiB, and reductions whose bits may depend on sizes, take the defaults.
BucketSizes plan_buckets(const StepOptions& job, Communicator& comm, const ParameterArena& arena,
                         const std::string& path);

struct BucketTrial {
  int64_t n_bytes = 0;
  double time_s = 0;
};

/// From trials (ascending): the smallest size that moves bytes at 0.9 of the best rate; for the first bucket
/// at half of it.
BucketSizes choose_buckets(const std::vector<BucketTrial>& trials);

}  // namespace lockstep
