// The watchdog of a run on several ranks. Each rank has a thread that tells the others once a second, past
// MPI, that it lives and what its main thread is at. A rank whose process ends, stops or falls silent is
// named, with its host, pid, step and work; the first of the others saves what there is; all end with
// kExitRankLost. What is noticed when, and where this ends: docs/faults.md.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/watchdog/heartbeat_thread.h"

namespace lockstep {

class Heartbeat {
 public:
  /// Collective; on the main thread. Finds out how ranks reach each other; where datagrams do not get
  /// through, rank 0 warns once, and those ranks do not watch each other. With one rank, or
  /// options.silent_s = 0, there is no thread, and nothing below does anything.
  Heartbeat(Communicator& comm, const HeartbeatOptions& options);
  /// Without stop() before, as when an exception unwinds: waits for no other rank.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// What saves the state when a rank is lost: returns one line about it, or throws. Runs on a thread of its
  /// own on one of the living ranks; must not wait for other ranks or the main thread without a limit.
  void set_rescue(std::function<std::string()> rescue);
  /// Collective. Ends the watch in good order; nobody is lost who leaves after it.
  void stop();

 private:
  Communicator& comm_;
  std::unique_ptr<HeartbeatThread> thread_;
};

/// To be called while the state still exists by a rank that ends with an error that the others know nothing
/// of: they save the state first, which takes as long as that does. Where another rank is lost, which often
/// is the reason of the error, it does not return: the heartbeat ends the process. Without a heartbeat it
/// returns at once. From any thread.
void tell_others_of_failure();

}  // namespace lockstep
