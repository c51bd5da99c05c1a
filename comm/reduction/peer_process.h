// Processes of other ranks on this host: which they are, and whether they live.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

/// What tells one process from all others, for those that can look into its /proc.
struct ProcessIdentity {
  int pid = 0;
  uint64_t start = 0;      // clock ticks after the boot; a number that is given again has another one
  uint64_t host = 0;       // equal where processes reach each other by loopback
  uint64_t pid_space = 0;  // equal where a pid means the same process
};
ProcessIdentity this_process();

enum class ProcessState { kRuns, kStopped, kGone };

/// Of a process of the same pid_space. kStopped: by a signal or a debugger. kGone: ended, also where its
/// parent has not looked yet.
ProcessState process_state(const ProcessIdentity& process);

/// A handle that polls readable when the process ends; -1 where the system has none (before Linux 5.3) or
/// the process is gone. The caller closes it.
int watch_process_end(const ProcessIdentity& process);

}  // namespace lockstep
