// Trials one after the other on the ranks of this launch: folds and cells of sweeps.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "jobs/command.h"
#include "src/run/job.h"
#include "src/run/select/trial.h"

namespace lockstep {

struct TrialsOptions {
  std::string job_file, out;  // out: the folder of the trials' folders
  Words set;                  // of all trials
  bool overwrite = false;     // runs that the folders hold are trained anew
  int64_t only = 0;           // that trial alone, from 1; 0: all
  bool goes_on = false;       // after a trial that failed
};

struct TrialsResult {
  std::vector<Job> jobs;  // of the trials
  std::vector<TrialOutcome> outcomes;
  int status = 0;  // of the program
};

/// Options that such commands share: set, out, only, overwrite.
void add_trial_options(CommandLine& line, const char* what);

/// Collective. What the job file calls its runs, for the default of --out. Throws AgreedError.
std::string job_name(Communicator& comm, const TrialsOptions& options);

/// Collective. Reads the jobs of all trials before anything runs; those that have ended are left as they are,
/// interrupted ones go on, on any number of ranks. `tell` is called on rank 0 after each, and once in any
/// case, to write tables of what there is by then. Throws AgreedError.
TrialsResult run_trials(Communicator& comm, const std::vector<Trial>& trials, const TrialsOptions& options,
                        const std::function<void(const TrialsResult&)>& tell);

/// Rank 0: writes a table or a page of DIR beside tasks of an array that do the same (options.only).
void write_of_trials(const TrialsOptions& options, const std::string& name, const std::string& text);

/// How it ended, on rank 0: "fold-2: accuracy 97.13 % (step 300)".
std::string outcome_line(const Trial& trial, const TrialOutcome& outcome, const Measure& measure);

}  // namespace lockstep
