// A checkpoint that no run has written, under a name of one's own choice.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint.h"

namespace lockstep {

/// Collective. Writes it by way of a folder of this process's own beside `path`, which it appears at by
/// rename. Throws AgreedError.
void save_as(Communicator& comm, const std::string& path, const CheckpointInfo& info,
             const std::vector<CheckpointTensor>& tensors);

}  // namespace lockstep
