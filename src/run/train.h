// train(job): the training loop. Start reading here, then run.h and run_steps.cpp.
#pragma once

#include "src/run/run.h"

namespace lockstep {

/// Collective. Trains a job from its data to checkpoints in its run folder. kStopped: a
/// signal came, all ranks stopped at the same step and wrote a checkpoint to resume from.
RunResult train(const Job& job, Communicator& comm, const RunOptions& options);

}  // namespace lockstep
