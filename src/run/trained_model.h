// TrainedModel: a network back from a checkpoint, with the job and the data contract it was
// trained under. Evaluation and prediction start here.
#pragma once

#include <memory>
#include <string>

#include "io/checkpoint/checkpoint.h"
#include "src/data/data.h"
#include "src/network/arena.h"
#include "src/run/job.h"

namespace lockstep {

struct TrainedModel {
  Job job;
  CheckpointInfo info;
  DataContract contract;
  Graph graph;
  std::unique_ptr<ParameterArena> arena;
};

/// Where no GPU answers, a job is read as one for the CPU, and formats of GPUs as float32. Whether it asked
/// for others.
bool use_without_gpu(Config& job);

/// What a checkpoint is of, without its weights: `arena` is empty. Throws Error naming the file.
TrainedModel describe_model(const std::string& checkpoint);
/// Reads a checkpoint and checks its sums. average: the running averages of the weights in their place. Does
/// not communicate. Throws Error naming the file, also where it has no averages.
TrainedModel load_model(const std::string& checkpoint, bool average = false);

/// Gives the job a global batch of one micro-batch per rank, for passes over data in order.
void share_micro_batches(Job& job, int size);

}  // namespace lockstep
