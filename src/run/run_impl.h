// The parts of a run, and what happens in and beside its steps; Run (run.h) adds when and under which guard.
#pragma once

#include <optional>
#include <vector>

#include "comm/activity.h"
#include "src/run/checkpoints/run_checkpoints.h"
#include "src/run/checkpoints/time_limit.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/progress.h"
#include "src/run/run.h"
#include "src/run/run_folder.h"
#include "src/run/run_log.h"
#include "src/run/run_setup.h"

namespace lockstep {

class Run::Impl {
 public:
  Impl(const Job& job, Communicator& comm, const RunOptions& options);

  /// Collective. Tries to save, begins the files of the run and tells of it.
  void begin(Heartbeat& heartbeat);
  bool goes_on() const {
    return !stopped_ && (state_.follow_up || (state_.step < total_steps_ && !state_.finished));
  }
  const StepResult& step();
  void follow();
  const ValidationResult& validate();
  void save();
  RunResult finish();

  /// Collective. After an error that all ranks know of: waits for the checkpoint under way.
  void end_saving() { checkpoints_.wait(); }
  /// After an error that this rank alone knows of. One rank by itself saves the state; of several the others
  /// do.
  void fail_alone();

  int64_t steps_done() const { return state_.step; }
  int64_t total_steps() const { return total_steps_; }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  const std::string& folder() const { return folder_.path(); }
  Replica& replica() { return replica_; }

 private:
  /// What the next line of metrics needs beside the sums of TrainState: of this process only.
  struct Interval {
    int64_t n_samples = 0;
    double start_s = 0;
    StepTimes times;
  };

  /// Collective. After a step that has changed nothing, as the loss was not finite.
  [[noreturn]] void fail_not_finite(const std::string& where);
  void write_start();
  /// Collective. Learns when the batch system ends the job, from rank 0's environment.
  void read_time_limit();
  /// Asks for a stop where the time limit leaves no more than this step.
  void watch_time_limit();
  void report_interval();
  bool improves_early_stopping(double value);
  /// Collective. At the end of a run that wants it: the weights of the best validation, which last.h5 then
  /// names. Returns its step; -1: what was trained last stays.
  int64_t restore_best();
  /// Collective. Stops the run, or mends it, where the weights of ranks differ.
  void guard();
  double epoch() const { return static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_); }
  /// Whether an epoch ends here in which the job's wish came true: each sample was right in its turn.
  bool epoch_without_mistakes() const {
    return job_.stop_without_mistakes && state_.step % steps_per_epoch_ == 0 && !state_.mistakes;
  }
  bool out_of_patience() const {
    return job_.early_stopping_patience > 0 &&
           state_.validations_without_improvement >= job_.early_stopping_patience;
  }
  template <typename Tell>
  void tell(const Tell& tell) {
    for (RunObserver* observer : observers_) tell(*observer);
  }
  void note(const std::string& text) {
    tell([&](RunObserver& observer) { observer.note(text); });
  }

  const Job& job_;
  Communicator& comm_;
  RunFolder folder_;
  RunSetup setup_;
  Replica replica_;
  const int64_t steps_per_epoch_, total_steps_, log_every_;
  const bool prints_;
  std::shared_ptr<RunObserver> observer_;
  std::unique_ptr<Validator> validator_;
  TrainState state_;
  int64_t guarded_step_ = -1;
  bool stopped_ = false, stops_early_ = false, time_is_up_ = false;
  TimeLimit time_limit_;
  StepResult last_;
  ValidationResult validated_;
  Interval interval_;
  double last_save_s_ = 0;
  // Since begin():
  std::unique_ptr<DataLoader> loader_;
  std::unique_ptr<Progress> progress_;
  std::unique_ptr<RunLog> log_;
  std::vector<RunObserver*> observers_;
  std::optional<Work> work_;
  // Last, so that its thread ends before what it uses.
  RunCheckpoints checkpoints_;
};

}  // namespace lockstep
