// Job: what a job file asks for, checked key by key; docs/job-file.md describes every key. Each part reads
// its own section and knows those to its left (model_options.h, data_options.h, step_options.h); the whole is
// a run's.
#pragma once

#include <cstdint>
#include <string>

#include "src/step/step_options.h"
#include "src/update/plateau.h"

namespace lockstep {

struct Job : StepOptions {
  std::string name;
  std::string text;  // the resolved job file (YAML), --set applied
  struct SyncGuard {
    int64_t every_steps = 100;  // 0: only at the start and before checkpoints
    bool restores = false;      // from the ranks that agree; false: the run stops
  } sync_guard;
  struct Watchdog {
    double silent_s = 15;              // without a sign of life a rank is lost; 0: nobody watches
    double stuck_s = 25;               // of keeping others waiting: a warning; 0: none
    bool emergency_checkpoint = true;  // by the ranks that are left
  } watchdog;

  int64_t epochs = 0;           // either epochs …
  int64_t steps = 0;            // … or steps is positive
  int64_t log_every_steps = 0;  // 0: about ten lines per epoch
  int64_t validate_every_epochs = 1;
  int64_t early_stopping_patience = 0;    // validations without improvement; 0: off
  Measure early_stopping;                 // of what; without a name of its own that of `best`
  std::optional<PlateauOptions> plateau;  // the rate falls where validations do not improve
  Measure plateau_measure;                // of what
  bool restore_best = false;              // the run ends with the weights of its best validation
  bool stop_without_mistakes = false;     // after an epoch that judged every training sample rightly

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
};

/// Reads and checks a job. Every error names file, line, key and remedy; unknown keys name
/// the nearest known one.
Job read_job(Config config);
/// The same of a description in C++; errors say "the program's job" in place of file and line. On several
/// ranks each makes its own, of equal values.
Job make_job(const Value& description);

}  // namespace lockstep
