// NCCL's functions, loaded from libnccl.so.2 while the program runs: nothing links to it. Their types are
// those of NCCL's header, so that a call is checked as if it were linked.
#pragma once

#include <nccl.h>

namespace lockstep {

struct NcclLibrary {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  decltype(&ncclGetUniqueId) unique_id;
  decltype(&ncclCommInitRank) init;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclAllReduce) all_reduce;
};

/// The library. Throws Error where why_no_nccl() says that there is none.
const NcclLibrary& nccl();

}  // namespace lockstep
