// The communicator's id travels from rank 0 over MPI. Who finds a failure holds the mutex while it tells, and
// the other stays silent: one message per rank, from the main thread's exception or from the watch.
#include "comm/nccl/nccl_communicator.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>

#include "comm/agreement.h"
#include "comm/mpi_check.h"
#include "comm/nccl/nccl_library.h"

namespace lockstep {
namespace {

/// What NCCL says of a result, and, where the library knows more, of the communicator's last failure.
Error error_of(ncclResult_t result, const char* call, ncclComm_t comm) {
  const char* last = nccl().last_error(comm);
  return Error(
      rank_and_host(),
      fmt::format("{} failed: {}{}{}", call, nccl().error_string(result),
                  last == nullptr || *last == '\0' ? "" : ": ", last == nullptr ? "" : last),
      "NCCL_DEBUG=WARN in the environment makes NCCL say more; LOCKSTEP_NCCL_LIBRARY=none sends gradients "
      "through host memory and MPI instead");
}

}  // namespace

NcclCommunicator::NcclCommunicator(Communicator& comm) {
  ncclUniqueId id{};
  check_on_root(comm, [&] { check(nccl().unique_id(&id), "ncclGetUniqueId"); });
  comm.broadcast(&id, sizeof id);
  check(nccl().init(&handle_, comm.size(), id, comm.rank()), "ncclCommInitRank");
  watch_ = std::thread([this] { watch(); });
}

NcclCommunicator::~NcclCommunicator() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  watch_.join();
  if (aborts_ || std::uncaught_exceptions() > 0)
    nccl().abort(handle_);
  else
    nccl().destroy(handle_);
}

void NcclCommunicator::check(ncclResult_t result, const char* call) {
  if (result != ncclSuccess) fail(result, call);
}

void NcclCommunicator::check_submitted() {
  ncclResult_t submitted = ncclSuccess;
  check(nccl().async_error(handle_, &submitted), "ncclCommGetAsyncError");
  if (submitted != ncclInProgress) check(submitted, "the reduction by NCCL");
}

void NcclCommunicator::fail(ncclResult_t result, const char* call) {
  const std::lock_guard lock(mutex_);
  aborts_ = stopping_ = true;  // the watch stays silent: this rank has told
  throw error_of(result, call, handle_);
}

void NcclCommunicator::watch() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, std::chrono::seconds(1), [&] { return stopping_; })) {
    ncclResult_t submitted = ncclSuccess;
    ncclResult_t result = nccl().async_error(handle_, &submitted);
    if (result == ncclSuccess) result = submitted;
    if (result == ncclSuccess || result == ncclInProgress) continue;
    // The main thread may wait for work that never ends, so there is nobody to throw to.
    abort_all(error_of(result, "the reduction by NCCL", handle_).what(), kExitError);
  }
}

}  // namespace lockstep
