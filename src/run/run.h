// Run: one training, from opened data to its last checkpoint, step by step. train() is the loop over it; a
// program of one's own may write another:
//
//   Run run(job, comm, options);
//   while (run.goes_on()) run.advance();
//   RunResult result = run.finish();
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/watchdog/heartbeat.h"
#include "src/run/job.h"
#include "src/run/run_observer.h"
#include "src/step/replica.h"

namespace lockstep {

struct RunOptions {
  std::string out;                        // the run folder itself; empty: runs/NAME
  std::string resume;                     // "", "auto" or a checkpoint file
  bool overwrite = false;                 // replace the run that the folder holds
  std::string job_file;                   // where the job was read from; never written to
  bool prints = true;                     // rank 0 tells of progress on standard output
  std::shared_ptr<RunObserver> observer;  // looks on, beside the files and the line on the screen
  /// What happens to this process when another rank is lost and the state has been saved, with the exit
  /// status of Lockstep's program; called by a thread of the watchdog. Empty: the process ends with that
  /// status. A function that returns leaves the process alone, whose collectives may wait for ever.
  std::function<void(int status)> when_rank_lost;
};

struct RunResult {
  enum class Status { kFinished, kEarlyStopped, kStopped } status = Status::kFinished;
  bool by_time_limit = false;  // kStopped: the run ended itself, before the batch system does
  int64_t step = 0;
  int64_t best_step = -1;  // -1: no validation
  double best_value = 0;   // of the job's checkpoint.best
  std::string run_folder;
};

/// All calls but the plain questions are collective. Errors that all ranks know of arrive on all of them as
/// AgreedError, after the checkpoint under way was written; an error of this rank alone as what it is, after
/// the other ranks were told, who save the state. Then the run is over: it may only be destroyed.
class Run {
 public:
  /// Opens data and run folder, builds or resumes the network, and begins the run's files. `job` and `comm`
  /// must outlive it.
  Run(const Job& job, Communicator& comm, const RunOptions& options);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Whether there are steps left, and nothing has asked to stop.
  bool goes_on() const;
  /// step() and follow().
  void advance();

  /// One update, unless what follows the last one is still due.
  const StepResult& step();
  /// What the job wants after a step: a line of metrics, a validation, a checkpoint, an early end.
  void follow();
  /// A validation now, beside those of the job; it counts for the best and for early stopping. Throws
  /// AgreedError without validation data.
  const ValidationResult& validate();
  /// A checkpoint of this step now, unless it has one.
  void save();
  /// Ends the run in good order: waits for what is being written, and saves the last state.
  RunResult finish();

  int64_t steps_done() const;
  int64_t total_steps() const;
  int64_t steps_per_epoch() const;
  const std::string& folder() const;
  /// Weights, plan and optimizer of this rank.
  Replica& replica();

 private:
  class Impl;
  template <typename Function>
  decltype(auto) guarded(const Function& work);

  std::unique_ptr<Heartbeat> heartbeat_;  // ends after what it watches
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
