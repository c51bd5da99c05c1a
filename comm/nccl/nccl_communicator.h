// The ranks of a run as NCCL sees them: a communicator with its checker and its watch.
//
// NCCL reports failures in two ways: a call returns one, or work that is already submitted fails and waits
// for ever. A thread asks for the second kind while the host may be waiting for the GPU.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace lockstep {

class NcclCommunicator {
 public:
  /// Collective. The current CUDA device, which no other rank has, becomes this rank's.
  explicit NcclCommunicator(Communicator& comm);
  /// Ends it in order, with all ranks; after abort() or while an exception unwinds, at once and alone.
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  ncclComm_t handle() const { return handle_; }
  /// Throws Error with the call, NCCL's text, rank and host, unless the result is ncclSuccess.
  void check(ncclResult_t result, const char* call);
  /// Throws what has happened to submitted work.
  void check_submitted();
  /// The run fails: nothing that is submitted will be waited for.
  void abort() { aborts_ = true; }

 private:
  [[noreturn]] void fail(ncclResult_t result, const char* call);
  void watch();

  ncclComm_t handle_ = nullptr;
  bool aborts_ = false;
  std::mutex mutex_;  // of the next two; held by who tells of a failure
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread watch_;
};

}  // namespace lockstep
