// Which GPUs have more than one rank: such ranks take turns on them, and NCCL refuses them.
#pragma once

#include "comm/communicator.h"
#include "kernels/device.h"

namespace lockstep {

struct SharedGpus {
  int n_shared = 0;  // GPUs with several ranks
  int n_gpus = 0;    // of all hosts, with any rank
};

/// Collective. device: what this rank computes on. Zeros where that is the CPU on all ranks.
SharedGpus shared_gpus(Communicator& comm, Device device);

}  // namespace lockstep
