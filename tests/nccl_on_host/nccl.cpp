// NCCL's functions over MPI. A group's messages are posted together and waited for together, in the stream's
// turn; between two ranks they match in the order of the calls.
#include <nccl.h>

#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

struct ncclComm {
  MPI_Comm mpi = MPI_COMM_NULL;
  int rank = 0, size = 1;
  int n_groups = 0;  // that were submitted
  ncclResult_t submitted = ncclSuccess;
};

namespace {

struct Message {
  bool is_send;
  void* data;
  size_t n_bytes;
  int peer;
  ncclComm_t comm;
  cudaStream_t stream;
};

bool in_group = false;
std::vector<Message> group;
std::string last_error;

ncclResult_t error(ncclResult_t result, const std::string& text) {
  last_error = text;
  return result;
}

void submit(cudaStream_t stream, std::function<void()> work) {
  auto* owned = new std::function<void()>(std::move(work));
  cudaLaunchHostFunc(
      stream,
      [](void* data) {
        (*static_cast<std::function<void()>*>(data))();
        delete static_cast<std::function<void()>*>(data);
      },
      owned);
}

void exchange(const std::vector<Message>& messages) {
  constexpr int kTag = 5;
  std::vector<MPI_Request> requests(messages.size());
  std::vector<MPI_Status> statuses(messages.size());
  for (size_t m = 0; m < messages.size(); ++m) {
    const Message& message = messages[m];
    if (message.is_send)
      MPI_Isend(message.data, int(message.n_bytes), MPI_BYTE, message.peer, kTag, message.comm->mpi,
                &requests[m]);
    else
      MPI_Irecv(message.data, int(message.n_bytes), MPI_BYTE, message.peer, kTag, message.comm->mpi,
                &requests[m]);
  }
  // Also where a message is longer than its receiver expects, which NCCL would answer by waiting for ever.
  bool fits = MPI_Waitall(int(requests.size()), requests.data(), statuses.data()) == MPI_SUCCESS;
  for (size_t m = 0; m < messages.size() && fits; ++m) {
    int count = 0;
    MPI_Get_count(&statuses[m], MPI_BYTE, &count);
    fits = messages[m].is_send || size_t(count) == messages[m].n_bytes;
  }
  if (fits) return;
  std::fprintf(stderr, "NCCL on the host: rank %d: sender and receiver disagree on a count\n",
               messages[0].comm->rank);
  MPI_Abort(MPI_COMM_WORLD, 70);
}

/// Whether the group about to be submitted shall fail in this way.
bool fails(const ncclComm& comm, const char* how) {
  const char* wish = std::getenv("LOCKSTEP_HOST_NCCL_FAILS");
  return wish != nullptr &&
         wish == std::to_string(comm.rank) + ":" + how + ":" + std::to_string(comm.n_groups);
}

/// Fails as the environment wishes, or does the work in the stream's turn.
ncclResult_t submit_group(ncclComm_t comm, cudaStream_t stream, std::function<void()> work) {
  ++comm->n_groups;
  if (fails(*comm, "call")) return error(ncclSystemError, "the cable is out");
  if (fails(*comm, "later")) comm->submitted = ncclRemoteError;
  if (fails(*comm, "hang")) {
    comm->submitted = ncclRemoteError;
    submit(stream, [] {
      for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
    });
  }
  submit(stream, std::move(work));
  return ncclSuccess;
}

ncclResult_t add_message(bool is_send, void* data, size_t count, ncclDataType_t type, int peer,
                         ncclComm_t comm, cudaStream_t stream) {
  if (!in_group) return error(ncclInvalidUsage, "a message outside of a group would wait for itself");
  if ((type != ncclFloat32 && type != ncclBfloat16) || peer < 0 || peer >= comm->size || peer == comm->rank ||
      data == nullptr)
    return error(ncclInvalidArgument, "no such message");
  if (!group.empty() && (group[0].stream != stream || group[0].comm != comm))
    return error(ncclInvalidUsage, "a group of several streams");
  group.push_back({is_send, data, count * (type == ncclFloat32 ? 4 : 2), peer, comm, stream});
  return ncclSuccess;
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
  *version = 22809;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclSystemError: return "unhandled system error";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    default: return "some error";
  }
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id->internal, 42, sizeof id->internal);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int n_ranks, ncclUniqueId id, int rank) {
  int size = 0, world_rank = 0, device = -1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  if (n_ranks != size || rank != world_rank || id.internal[127] != 42)
    return error(ncclInvalidArgument, "not the ranks of the run");
  if (cudaGetDevice(&device) != cudaSuccess) return error(ncclUnhandledCudaError, "no device");
  std::vector<int> devices(static_cast<size_t>(size));
  MPI_Allgather(&device, 1, MPI_INT, devices.data(), 1, MPI_INT, MPI_COMM_WORLD);
  for (int r = 0; r < size; ++r)
    if (r != rank && devices[size_t(r)] == device) return error(ncclInvalidUsage, "Duplicate GPU detected");
  *comm = new ncclComm;
  (*comm)->rank = rank;
  (*comm)->size = size;
  MPI_Comm_dup(MPI_COMM_WORLD, &(*comm)->mpi);
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  MPI_Comm_free(&comm->mpi);
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t) { return ncclSuccess; }  // left to the end of the process

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* submitted) {
  *submitted = comm->submitted;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  if (in_group) return error(ncclInvalidUsage, "a group in a group");
  in_group = true;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (!in_group) return error(ncclInvalidUsage, "no group was begun");
  in_group = false;
  if (group.empty()) return ncclSuccess;
  const std::vector<Message> messages = std::move(group);
  group.clear();
  return submit_group(messages[0].comm, messages[0].stream, [messages] { exchange(messages); });
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_message(true, const_cast<void*>(data), count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_message(false, data, count, type, peer, comm, stream);
}

ncclResult_t ncclAllReduce(const void* src, void* dst, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  if (src != dst || type != ncclFloat32 || op != ncclSum || in_group)
    return error(ncclInvalidArgument, "only sums of float32 in place");
  return submit_group(comm, stream,
                      [=] { MPI_Allreduce(MPI_IN_PLACE, dst, int(count), MPI_FLOAT, MPI_SUM, comm->mpi); });
}
