// How long a job will take, and what it will cost, from the time of one step. Arithmetic only: the command
// measures, or reads what was measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/config/config.h"

namespace lockstep {

/// What a job does, from its file and its data.
struct JobWork {
  int64_t steps = 0, steps_per_epoch = 0, global_batch = 0;
  int64_t n_validations = 0, validation_samples = 0;  // of one validation
  int64_t n_checkpoints = 0;
  double checkpoint_every_minutes = 0;  // beside those
  int64_t checkpoint_bytes = 0;
};

/// What was measured, and where that comes from.
struct Measured {
  double step_s = 0;       // 0: not measured
  double bytes_per_s = 0;  // of checkpoints; 0: not measured
  std::string step_from;   // "bench step on 2 ranks"
};

/// Adds what an object of `bench step`, `bench scaling` or `bench checkpoint --json` says for that many
/// ranks and that batch. A step on other ranks or of another batch is scaled as if every rank kept its rate,
/// and step_from says so. Throws Error where the object is none of these.
void add_measurement(const Config& result, int64_t ranks, int64_t global_batch, Measured& measured);

/// Seconds of one checkpoint; 100 MB/s where nobody has measured.
double checkpoint_s(const JobWork& work, const Measured& measured);

/// Seconds from the first step to the last, checkpoints written beside training left out as they are hidden;
/// a validation sample costs a third of a training sample (forward alone).
double work_s(const JobWork& work, const Measured& measured);

/// How many further starts a job of that time needs if each job has `time_s`, of which the last
/// `leaves_before_s` are not used and the first `kStart_s` go into starting.
int64_t restarts(double work_s, int64_t time_s, double leaves_before_s);
inline constexpr double kStart_s = 30;

/// Lines for people: time, hours of GPUs or cores, restarts, and what they rest on.
std::vector<std::string> walltime_lines(const JobWork& work, const Measured& measured, int64_t ranks,
                                        int64_t cpus_per_task, bool on_gpus, int64_t time_s,
                                        int64_t leaves_before_s);

}  // namespace lockstep
