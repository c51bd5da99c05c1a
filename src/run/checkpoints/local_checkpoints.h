// Copies of the state on the hosts' own disks: quick and often, where checkpoints in the run folder are slow
// and seldom. The first rank of each of the first two hosts writes whole checkpoints beside training (the
// second host is the partner that is left when the first one is gone); a resume takes the newest that any of
// its hosts still has, if it is newer than the run folder's, into the run folder, and goes on from there as
// from any checkpoint.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint_saver.h"
#include "src/job/job.h"

namespace lockstep {

/// The ranks that keep copies: the lowest one on each of the first two hosts. hosts: of every rank.
std::vector<int> ranks_that_keep_copies(const std::vector<std::string>& hosts);

class LocalCheckpoints {
 public:
  /// Collective. `run`: the run's folder, where a file `run_id` ties copies to the run; `resumes`: it goes
  /// on.
  LocalCheckpoints(const Job& job, Communicator& comm, const std::string& run, bool resumes);
  /// While an exception unwinds it waits for nothing.
  ~LocalCheckpoints();
  LocalCheckpoints(const LocalCheckpoints&) = delete;
  LocalCheckpoints& operator=(const LocalCheckpoints&) = delete;

  bool is_on() const { return !folder_.empty(); }
  /// Collective. Brings the newest whole copy of any host into `checkpoints`, if it is newer than those.
  /// Returns warnings, and one line if it did.
  std::vector<std::string> fetch(const std::string& checkpoints);
  /// Sets memory aside on ranks that keep copies. `tensors` as of CheckpointSaver, all whole.
  void prepare(std::vector<CheckpointTensor> tensors);
  /// Begins to write a copy, unless the last one is still being written.
  void save(Stream& stream, const CheckpointInfo& info);
  /// Before the state changes.
  void hold_changes();
  /// What went wrong on this rank since the last call; "" if nothing did.
  std::string poll();
  /// Waits for the copy under way. Where the run has finished its copies go.
  void end(bool finished);

 private:
  void tidy() const;
  const Job& job_;
  Communicator& comm_;
  std::string run_folder_;  // of all hosts' copies
  std::string folder_;      // of this host's; "": off, or this rank keeps none
  bool keeps_ = false;
  std::unique_ptr<CheckpointSaver> saver_;
};

}  // namespace lockstep
