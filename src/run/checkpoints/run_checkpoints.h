// The checkpoints of a run: which one it resumes from, when the state is copied and written beside
// training, which files are kept, and what the log and the metrics tell of all that.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "io/checkpoint/checkpoint_saver.h"
#include "src/data/data.h"
#include "src/run/checkpoints/data_identity.h"
#include "src/run/checkpoints/emergency_checkpoint.h"
#include "src/run/checkpoints/local_checkpoints.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/checkpoints/versions.h"
#include "src/run/job.h"
#include "src/run/run_folder.h"
#include "src/step/replica.h"

namespace lockstep {

class RunCheckpoints {
 public:
  /// All of them outlive it. The replica's updates wait from now on for copies that are being made.
  RunCheckpoints(const Job& job, RunFolder& folder, Replica& replica, DataContract& contract,
                 int64_t steps_per_epoch);
  /// Waits for the file under way; while an exception unwinds that other ranks may not know of, it does
  /// not.
  ~RunCheckpoints();
  RunCheckpoints(const RunCheckpoints&) = delete;
  RunCheckpoints& operator=(const RunCheckpoints&) = delete;

  /// Collective. `from`: "auto", a path, or "" to begin anew. Loads the replica's weights, optimizer and
  /// loss scale, and returns the rest; to be called first. Throws AgreedError for a damaged file and for one
  /// of another batch, seed or data. What the job has changed since, and so begins anew, is told by begin().
  TrainState resume(const std::string& from, const DataIdentity& data);
  /// Collective, when the job has been checked: sets memory aside, tries whether a checkpoint can be saved
  /// (AgreedError where not), and begins the run's metrics.
  void begin(const TrainState& state);

  /// Collective. Starts to write a checkpoint of this step, and waits for it where the job says so. Nothing
  /// happens if that step has one.
  void save(TrainState& state);
  bool has(int64_t step) const { return saved_step_ == step; }
  /// Tells of a save that has ended, if one has; does not wait.
  void poll();
  /// Collective. Waits for the file under way, and tells of it.
  void wait();
  /// Begins a copy on the hosts' own disks, where the job wants one of this step.
  void save_locally(const TrainState& state);
  /// Collective. As wait(), at the end of a run. A last state that is not on the disk is tried once more;
  /// returns why it is not there; "" if it is.
  std::string end(TrainState& state);
  /// Of the saves that have succeeded on this run, the time until the file had its name; 0: none has.
  double longest_save_s() const { return longest_save_s_; }
  /// What this run computes with, as its checkpoints say.
  const Versions& versions() const { return versions_; }
  /// For when a rank is lost; the replica's updates tell it that the state changes.
  EmergencyCheckpoint& emergency() { return emergency_; }

 private:
  /// The state as a checkpoint has it.
  std::vector<CheckpointTensor> tensors(StateIn place);
  CheckpointInfo info(const TrainState& state) const;
  void report(const std::optional<SaveOutcome>& ended);
  /// After a checkpoint has its name, beside training: old ones go, links move.
  void tidy(int64_t step, int64_t best_step) const;
  /// Whether `keep_every` keeps the checkpoint of that step for ever.
  bool is_kept(int64_t step) const;

  const Job& job_;
  RunFolder& folder_;
  Replica& replica_;
  DataContract& contract_;
  int64_t steps_per_epoch_;
  DataIdentity data_;
  const Versions versions_;
  EmergencyCheckpoint emergency_;
  std::unique_ptr<LocalCheckpoints> local_;
  std::string resumed_from_;           // "": the run begins
  std::vector<std::string> warnings_;  // of resume()
  std::string failure_;                // of the last save; "": it is on the disk
  int64_t saved_step_ = -1;
  double longest_save_s_ = 0;
  double stall_s_ = 0, waited_s_ = 0;  // how long training stood still for the save under way
  std::unique_ptr<CheckpointSaver> saver_;
};

}  // namespace lockstep
