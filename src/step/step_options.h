// What a job says of a training step: where and how it is computed, how gradients are summed, how weights
// change.
#pragma once

#include <cstdint>

#include "comm/reduction/gradient_reducer.h"
#include "kernels/op.h"
#include "src/data/data_options.h"
#include "src/update/clip.h"
#include "src/update/optimizer.h"
#include "src/update/schedule.h"

namespace lockstep {

struct StepOptions : DataOptions {
  static constexpr int kMostThreads = 4096;  // of a rank
  int threads = 1;                           // per rank, on the CPU; part of what fixes the bits
  bool more_threads_than_cores = false;      // is meant
  DType precision = DType::kFloat32;         // of activations; weights are float32
  bool tf32 = false;                         // GPUs: float32 products with factors of TF32
  int64_t convolution_workspace_bytes = OpConfig{}.convolution_workspace_bytes;
  /// How its ops are to be built.
  OpConfig op_config(bool training = true) const;

  Reduction reduction = Reduction::kTree;
  int64_t first_bucket_bytes = 0, bucket_bytes = 0;  // 0: measured (step/bucket_sizes.h)
  Wire wire = Wire::kFloat32;
  bool error_feedback = false;   // of what the wire rounds off
  bool shard_optimizer = false;  // its state, and the update, among the ranks
  OptimizerSpec optimizer;
  ClipOptions clip;
  Schedule schedule;
};

/// The keys device and precision (ranks of one host take its GPUs in turn), threads, and batch.
void read_device(const Config& root, StepOptions& options);
void read_threads(const Config& root, StepOptions& options);
void read_batch(const Config& root, StepOptions& options);

/// Throws Error where a rank's threads are more than this machine's cores and the job does not say that this
/// is meant.
void check_thread_count(const StepOptions& options);

/// The options of a checkpoint, which may come from another machine and anyone: threads as the cores allow,
/// reading as by default.
void use_on_this_machine(StepOptions& options);

/// Throws Error if `size` ranks cannot share the micro-batches; names counts that can.
void check_rank_count(const StepOptions& options, int size);

}  // namespace lockstep
