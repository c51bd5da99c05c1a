// train(job): the training loop. Start reading here.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "src/job/job.h"

namespace lockstep {

struct TrainOptions {
  std::string out;         // the run folder itself; empty: runs/NAME
  std::string resume;      // "", "auto" or a checkpoint file
  bool overwrite = false;  // replace the run that the folder holds
  std::string job_file;    // where the job was read from; never written to
};

struct TrainResult {
  enum class Status { kFinished, kEarlyStopped, kStopped } status = Status::kFinished;
  int64_t step = 0;
  int64_t best_step = -1;
  double best_value = 0;
  std::string run_folder;
};

/// Collective. Trains a job from its data to checkpoints in its run folder. kStopped: a
/// signal came, all ranks stopped at the same step and wrote a checkpoint to resume from.
TrainResult train(const Job& job, Communicator& comm, const TrainOptions& options);

}  // namespace lockstep
