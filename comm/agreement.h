// Ranks agree on success or failure, so that an error is one report and never a hang.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "kernels/error.h"

namespace lockstep {

/// An error that every rank throws alike; main() prints it on rank 0 only.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// How ranks that are done wait for those that still work: spinning answers at once; sleeping leaves
/// the core to others, for threads beside those that compute.
enum class Waiting { kSpin, kSleep };

/// Collective. Runs `check` on rank 0 only and shares the verdict: either it returns on
/// every rank, or every rank throws the same Error (an AgreedError, so that only rank 0
/// prints it). Nothing is thrown on one rank alone.
void check_on_root(Communicator& comm, const std::function<void()>& check, Waiting waiting = Waiting::kSpin);

/// Collective. Runs `work` on every rank; if any rank throws, all ranks throw an
/// AgreedError carrying the message of the lowest failing rank (with its rank and host when
/// there are several). `work` makes no collective calls, unless it cannot fail before the
/// last of them on one rank alone: a rank that left early would be waited for.
void all_or_none(Communicator& comm, const std::function<void()>& work, Waiting waiting = Waiting::kSpin);

/// Ends all ranks at once with a non-zero status after printing "lockstep: rank 3 on HOST:
/// message", for errors that only this rank knows of. Works before, during and after MPI.
/// Does not return.
[[noreturn]] void abort_all(const std::string& message, int exit_status);

/// SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP (unless ignored, as nohup does) and a reader of stdout
/// that has gone (SIGPIPE) are noted instead of ending the process; no handler ever runs. Called once, in
/// main() before MPI starts and before there are threads, which inherit what is blocked. A second SIGINT ends
/// the process at once with status 130.
void take_stop_signals();
/// The signal that arrived on this rank, or 0. The trainer shares it with all ranks. Called by the thread
/// that called take_stop_signals().
int stop_signal();
/// As if SIGXCPU, the system's word for time that is up, had arrived on this rank. Of a time limit that a run
/// knows itself.
void ask_for_stop();
/// Handlers that libraries have installed run on alternate stacks from now on (kernels/signal_stack.h).
void move_handlers_to_signal_stacks();

/// Exit statuses of the program.
inline constexpr int kExitError = 1;      // a user error or a failure
inline constexpr int kExitUsage = 2;      // wrong command line
inline constexpr int kExitStopped = 85;   // stopped by a signal after a checkpoint: resume me
inline constexpr int kExitRankLost = 86;  // another rank was lost (heartbeat.h): resume me

}  // namespace lockstep
