// The state of a run in the hands of one rank, for when another rank is lost. The training loop marks when
// the state in memory is whole and when it changes; from another thread, save() stops the changes for good
// and writes a checkpoint of what is whole. comm/watchdog/heartbeat.h calls it; docs/faults.md promises it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "src/job/data.h"
#include "src/job/job.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/data_identity.h"
#include "src/run/versions.h"
#include "src/step/replica.h"

namespace lockstep {

class EmergencyCheckpoint {
 public:
  /// All of them outlive it. `folder`: of checkpoints.
  EmergencyCheckpoint(const Job& job, std::string folder, Replica& replica, DataContract& contract,
                      const DataIdentity& data, const Versions& versions, int64_t steps_per_epoch);

  /// The training thread is about to change weights or optimizer state. Does not return once save() reads
  /// them: the process is about to end.
  void state_changes();
  /// The work submitted to the replica's stream so far leaves weights and optimizer state whole; `state` is
  /// the rest.
  void state_is_whole(const TrainState& state);

  /// From any thread, once; while the training thread is blocked or goes on. Returns a line that tells where
  /// the checkpoint is, or why there is none and which is the last. Waits for an update under way, and for
  /// HDF5, some seconds at most.
  std::string save();

 private:
  std::optional<TrainState> freeze();
  std::string save_or_throw();
  std::string last_checkpoint() const;

  const Job& job_;
  std::string folder_;
  Replica& replica_;
  DataContract& contract_;
  const DataIdentity& data_;
  const Versions& versions_;
  int64_t steps_per_epoch_;

  std::mutex mutex_;  // guards the next three
  std::condition_variable changed_;
  std::optional<TrainState> whole_;  // none while the state changes
  bool frozen_ = false;
  std::unique_ptr<Event> is_whole_;  // on a GPU
};

}  // namespace lockstep
