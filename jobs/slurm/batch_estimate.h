// How long a job takes and what its checkpoints weigh, as far as a login node can tell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/slurm/batch_script.h"
#include "src/run/job.h"

namespace lockstep {

struct StateSize {
  int64_t weight_bytes = 0, optimizer_bytes = 0;
  int64_t bytes() const { return weight_bytes + optimizer_bytes; }
  /// Seconds of a checkpoint at a rate that shared file systems keep up when they are busy (200 MB/s).
  double save_s() const { return static_cast<double>(bytes()) / 200e6; }
};
StateSize state_of(const Job& job);

struct Estimation {
  double step_ms = 0;    // of all ranks together; 0: nobody measured
  std::string rests_on;  // a sentence
};
/// From the output of `bench step --json` or of `bench scaling --json`, whose row of as many ranks counts.
/// Throws Error.
Estimation from_measurement(const Job& job, const BatchRequest& request, const std::string& file);
/// Times one micro-batch on one rank of this machine.
Estimation measure_here(const Job& job, const BatchRequest& request);

/// The lines for the script: size of a checkpoint, steps, time, node- or GPU-hours, starts.
std::vector<std::string> estimate_lines(const Job& job, const BatchRequest& request, const StateSize& state,
                                        const Estimation& estimation);
/// Steps of the whole run; 0 where the data are not here.
int64_t steps_of(const Job& job);

}  // namespace lockstep
