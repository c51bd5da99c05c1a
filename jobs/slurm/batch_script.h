// The batch script of a job, as text: what `lockstep slurm` writes. Pure functions of what was asked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

enum class BatchSystem : uint8_t { kSlurm, kPbs, kLsf };

struct BatchRequest {
  BatchSystem system = BatchSystem::kSlurm;
  std::string made_by;  // the command line, for the script's first lines
  std::string job_file, run_folder, program = "lockstep", name;
  std::vector<std::string> settings;  // KEY=VALUE
  int nodes = 1, ranks_per_node = 1, gpus_per_node = 0, cpus_per_rank = 1;
  int64_t time_s = 0, signal_before_s = 120;
  std::string partition, account, array, command = "train";  // command: what an array runs in place of train
  std::string mpi = "pmix", container;
  std::vector<std::string> modules;
  int chain = 0;                      // links of a chain in place of requeueing; 0: none
  std::string script_file;            // where it will lie; a chain submits it again
  std::vector<std::string> estimate;  // lines that say what it rests on

  int ranks() const { return nodes * ranks_per_node; }
};

/// Throws Error where the system cannot do what is asked (arrays and chains are Slurm's).
std::string batch_script(const BatchRequest& request);

/// "D-HH:MM:SS", "HH:MM:SS", "MM:SS" or "MM", as Slurm reads --time. Throws UsageError.
int64_t read_walltime(const std::string& text);
/// "1-02:00:00", "02:00:00".
std::string walltime_text(int64_t time_s);

}  // namespace lockstep
