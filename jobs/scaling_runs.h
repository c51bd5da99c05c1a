// The measurements of a scaling study: `bench step` on n ranks, started by a launcher or given to Slurm, and
// kept in a folder, so that what is there is not measured again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "jobs/command.h"
#include "src/config/config.h"

namespace lockstep {

/// This program as ranks start it: scripts/bundle's launcher names itself, because there /proc/self/exe
/// is the machine's loader.
std::string this_program();
/// What starts ranks here; their number is appended.
std::string default_launcher();

/// What the command line asks for.
struct ScalingRuns {
  std::string job, name, program;
  std::string launcher;  // takes the number of ranks; "": one rank starts by itself
  std::string folder;    // "": nothing is kept
  std::string sbatch;    // options for sbatch
  Words settings;
  int64_t global = 0, micro = 0, steps = 50;
  int rounds = 1;
  bool strong = false, by_slurm = false;

  /// The measurement of n ranks in a round: what the folder has of it, else it is made now, or given to
  /// Slurm, where there is none yet. Throws Error with the command where it fails.
  std::optional<Config> measure(int n, int64_t micro_batch, int round) const;

 private:
  std::string step_command(int n, int64_t micro_batch) const;
  std::string file_of(int n, int round, const std::string& command) const;
  void submit(int n, const std::string& file, const std::string& command) const;
};

}  // namespace lockstep
