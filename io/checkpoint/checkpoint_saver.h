// Checkpoints beside training. Each rank copies its part of the state into host memory that was set
// aside at the start, while the next step runs forward and backward; only its update waits for the
// copy (Mohan et al., CheckFreq, FAST 2021). A thread then writes the copy together with the other
// ranks' threads, over a communicator of its own, while training goes on.
//
// The file is that of save_checkpoint(), byte for byte, and so are the guarantees: all ranks agree
// on success or failure, and a crash leaves the previous or the new checkpoint whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint.h"
#include "kernels/device.h"

namespace lockstep {

/// How one save ended; equal on all ranks but for the time.
struct SaveOutcome {
  int64_t step = 0;
  std::string path;     // of the file
  int64_t n_bytes = 0;  // of the file; rank 0
  double time_s = 0;    // from start() until the file had its name
  std::string error;    // empty: saved. Else what all ranks agreed on
};

class CheckpointSaver {
 public:
  /// Collective. `tensors` as of save_checkpoint(), or sharded; their memory, on `device` or the host,
  /// outlives the saver. Sets aside host memory for this rank's part: 1/P of the state (twice for what is
  /// sharded), page-locked for a GPU.
  CheckpointSaver(const Communicator& comm, std::string folder, std::vector<CheckpointTensor> tensors,
                  Device device);
  /// Waits for the write under way, and so for the other ranks; its outcome is lost.
  ~CheckpointSaver();
  /// For errors that other ranks know nothing of: ends the copying and leaves a write under way, with all
  /// that it needs, to the end of the process. Waits for no other rank.
  static void leave(std::unique_ptr<CheckpointSaver> saver);
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  /// Collective. Throws AgreedError where a save could not succeed now: no space for it, names that HDF5
  /// cannot store, a folder that not all ranks can write to. Leaves no file.
  void probe(const CheckpointInfo& info);

  /// Collective. Starts to copy the tensors as `stream` leaves them, and to write them; waits for a
  /// write before, whose outcome is lost. `when_saved` runs on rank 0's thread after the file has its
  /// name. Until hold_changes() returns, the tensors must not change.
  void start(Stream& stream, CheckpointInfo info, std::function<void()> when_saved = {});
  /// To be called before the tensors change: waits for the copy. Returns at once where none is made.
  void hold_changes();
  /// Whether a write is under way.
  bool is_busy() const;
  /// The outcome, if a write has ended since it was last asked for. Does not wait.
  std::optional<SaveOutcome> poll();
  /// Waits for the write under way, if any, and returns its outcome.
  std::optional<SaveOutcome> wait();

 private:
  void submit_copies();
  SaveOutcome write(const CheckpointInfo& info, const std::function<void()>& when_saved);
  struct Parts;  // which parts of the state are this rank's, and where they are copied to
  void exchange_shards();
  Communicator comm_;
  std::string folder_;
  std::vector<CheckpointTensor> tensors_;
  std::unique_ptr<Parts> parts_;
  Memory copy_, shard_copy_;
  Device device_;
  std::unique_ptr<Stream> copies_;  // a GPU's, beside the one that computes
  std::unique_ptr<Event> state_is_ready_;
  bool copying_ = false;  // hold_changes() has something to wait for
  std::promise<void> copied_;
  std::shared_future<void> when_copied_;
  std::chrono::steady_clock::time_point start_;
  std::future<SaveOutcome> writing_;
};

}  // namespace lockstep
