// Job: what a job file asks for, checked key by key. docs/job-file.md describes every key.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/reduction/gradient_reducer.h"
#include "io/loader/sampler.h"
#include "kernels/op.h"
#include "src/config/config.h"
#include "src/data/augment/augment.h"
#include "src/losses/loss.h"
#include "src/metrics/metric.h"
#include "src/network/init.h"
#include "src/update/optimizer.h"
#include "src/update/schedule.h"

namespace lockstep {

struct DataSource {
  std::string path;                           // empty where every field has its own
  std::string input, target;                  // field names; empty: found by their usual names
  std::map<std::string, std::string> inputs;  // several: the model's input -> field
  struct Place {
    std::string path, field;
  };
  std::map<std::string, Place> places;  // of fields that lie in another file or folder, by their names here
  std::string layout;                   // of images: NCHW or NHWC; empty: as the files say
  bool external_storage = false, partial = false;  // see DatasetOptions
};

struct Job {
  std::string name;
  std::string text;  // the resolved job file (YAML), --set applied
  uint64_t seed = 1;
  Device device;
  static constexpr int kMostThreads = 4096, kMostDataThreads = 256;  // of a rank
  int threads = 1;                       // per rank, on the CPU; part of what fixes the bits
  bool more_threads_than_cores = false;  // is meant
  DType precision = DType::kFloat32;     // of activations; weights are float32
  bool tf32 = false;                     // GPUs: float32 products with factors of TF32
  int64_t convolution_workspace_bytes = OpConfig{}.convolution_workspace_bytes;
  /// How its ops are to be built.
  OpConfig op_config(bool training = true) const;

  std::shared_ptr<Config> model;

  std::optional<DataSource> train, validation;
  enum class Normalize { kAuto, kNone, kUnit, kMean, kStandardize } normalize = Normalize::kAuto;
  AugmentSpec augment;  // of training images
  Shuffle shuffle;
  int data_threads = 0;  // of each rank, that read and decode; 0: as the device and the cores suggest
  int64_t prefetch = 4;  // micro-batches, at first
  int64_t prefetch_bytes = int64_t{256} << 20;  // up to which it may grow
  int64_t cache_bytes = int64_t{1} << 30;       // of each host
  enum class VerifyData { kAuto, kAlways, kNever } verify_data = VerifyData::kAuto;  // before the first step

  int64_t global_batch = 0, micro_batch = 0;
  Reduction reduction = Reduction::kTree;
  int64_t first_bucket_bytes = 0, bucket_bytes = 0;  // 0: measured (step/bucket_sizes.h)
  Wire wire = Wire::kFloat32;
  bool error_feedback = false;   // of what the wire rounds off
  bool shard_optimizer = false;  // its state, and the update, among the ranks
  struct SyncGuard {
    int64_t every_steps = 100;  // 0: only at the start and before checkpoints
    bool restores = false;      // from the ranks that agree; false: the run stops
  } sync_guard;
  struct Watchdog {
    double silent_s = 15;              // without a sign of life a rank is lost; 0: nobody watches
    double stuck_s = 25;               // of keeping others waiting: a warning; 0: none
    bool emergency_checkpoint = true;  // by the ranks that are left
  } watchdog;

  LossSpec loss;                         // the one that is reported
  std::vector<LossSpec> further_losses;  // of other layers; their gradients are added
  /// All losses, the reported one first.
  std::vector<LossSpec> losses() const;
  MetricList metrics;  // of the reported loss
  OptimizerSpec optimizer;
  Schedule schedule;
  InitSpec init = default_init();

  int64_t epochs = 0;           // either epochs …
  int64_t steps = 0;            // … or steps is positive
  int64_t log_every_steps = 0;  // 0: about ten lines per epoch
  int64_t validate_every_epochs = 1;
  int64_t early_stopping_patience = 0;  // validations without improvement; 0: off
  Measure early_stopping;               // of what; without a name of its own that of `best`
  bool stop_without_mistakes = false;   // after an epoch that judged every training sample rightly

  int64_t checkpoint_every_epochs = 1, checkpoint_every_steps = 0;
  double checkpoint_every_minutes = 0;
  int keep = 3;            // the newest so many
  int64_t keep_every = 0;  // and every so many-th for ever; 0: none
  bool asynchronous_checkpoints = true;
  struct LocalCopies {
    std::string folder;  // on each host's own disk; "": none are kept
    int64_t every_steps = 0;
    int keep = 2;
  } local_checkpoints;
  Measure best;  // what makes a validation the best

  int64_t n_micro() const { return global_batch / micro_batch; }  // V
};

/// Reads and checks a job. Every error names file, line, key and remedy; unknown keys name
/// the nearest known one.
Job read_job(Config config);
/// The same of a description in C++; errors say "the program's job" in place of file and line. On several
/// ranks each makes its own, of equal values.
Job make_job(const Value& description);

/// Throws Error where a rank's threads are more than this machine's cores and the job does not say that this
/// is meant.
void check_thread_count(const Job& job);

/// The job of a checkpoint, which may come from another machine and anyone: threads as the cores allow,
/// reading as by default.
void use_on_this_machine(Job& job);

/// Throws Error if `size` ranks cannot share the job's micro-batches; names counts that can.
void check_rank_count(const Job& job, int size);

}  // namespace lockstep
