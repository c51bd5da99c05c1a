// One verdict for all ranks: the failing rank's error travels to the others, so that every
// rank throws the same AgreedError and none is left waiting in a later collective.
#include "comm/agreement.h"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "comm/mpi_check.h"
#include "comm/watchdog/heartbeat.h"

namespace lockstep {
namespace {

struct Failure {
  bool failed = false, agreed = false;
  std::string where, reason, remedy;
};

Failure attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const AgreedError& error) {
    return {true, true, error.where(), error.reason(), error.remedy()};
  } catch (const Error& error) {
    return {true, false, error.where(), error.reason(), error.remedy()};
  } catch (const std::exception& error) {
    return {true, false, "", error.what(), ""};
  } catch (...) {
    return {true, false, "", "unknown exception", ""};
  }
  return {};
}

[[noreturn]] void throw_agreed(Communicator& comm, const Failure& failure, int root) {
  const std::string where = comm.broadcast_string(failure.where, root);
  const std::string reason = comm.broadcast_string(failure.reason, root);
  const std::string remedy = comm.broadcast_string(failure.remedy, root);
  throw AgreedError(where, reason, remedy);
}

}  // namespace

void check_on_root(Communicator& comm, const std::function<void()>& check, Waiting waiting) {
  Failure failure;
  if (comm.is_root()) failure = attempt(check);
  if (waiting == Waiting::kSleep) comm.sleeping_barrier();
  if (comm.all_reduce_max(failure.failed) != 0) throw_agreed(comm, failure, 0);
}

void all_or_none(Communicator& comm, const std::function<void()>& work, Waiting waiting) {
  Failure failure = attempt(work);
  if (waiting == Waiting::kSleep) comm.sleeping_barrier();
  // The lowest failing rank has the highest score; 0 where nobody failed.
  const int64_t score = comm.all_reduce_max(failure.failed ? comm.size() - comm.rank() : 0);
  if (score == 0) return;
  if (failure.failed && !failure.agreed && comm.size() > 1)
    failure.where = rank_and_host() + (failure.where.empty() ? "" : ": " + failure.where);
  throw_agreed(comm, failure, comm.size() - int(score));
}

void abort_all(const std::string& message, int exit_status) {
  tell_others_of_failure();
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  std::fflush(stdout);
  std::fprintf(stderr, "lockstep: %s: %s\n", rank_and_host().c_str(), message.c_str());
  std::fflush(stderr);
  if (initialized && !finalized) MPI_Abort(MPI_COMM_WORLD, exit_status);
  std::_Exit(exit_status);
}

}  // namespace lockstep
