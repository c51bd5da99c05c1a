// Whether a job that starts again and again gets anywhere: the step of the newest checkpoint, compared
// between its starts. A job that fails before its first step would otherwise be queued for ever.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// One start of a job, or of a link of a chain of jobs.
struct JobStart {
  std::string chain;  // what the batch system calls the job, or the chain's first one
  int64_t step = 0;   // of the newest checkpoint at that time; 0: none
};

/// "" where the start of the last entry may go on. Else a sentence: it and the two starts before it, of the
/// same chain, found the run at the same step.
std::string why_to_stop(const std::vector<JobStart>& starts);

/// The starts of RUN_DIR/starts.jsonl, in order; none where it is absent. What cannot be read is left out.
std::vector<JobStart> read_starts(const std::string& run_folder);
/// Adds a start that finds the run as it is now. Creates the folder. Throws Error where it cannot write.
void add_start(const std::string& run_folder, const std::string& chain);

/// Whether the newest checkpoint of a run is that of its end.
bool is_finished(const std::string& run_folder);

/// The name of this job's chain from the environment: LOCKSTEP_CHAIN, else the batch system's name of the
/// job; "" outside of one.
std::string chain_of_environment();

}  // namespace lockstep
