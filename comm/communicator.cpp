// Communicator over MPI: every call checked, counts beyond INT_MAX cut into pieces.
//
// Sums: all_reduce goes through comm/reduction/rank_reduction.h, prepared with the first one;
// native_all_reduce leaves them to MPI.
#include "comm/communicator.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <thread>
#include <utility>

#include "comm/activity.h"
#include "comm/agreement.h"
#include "comm/mpi_check.h"
#include "comm/reduction/rank_reduction.h"
#include "kernels/error.h"

namespace lockstep {

struct Communicator::Impl {
  MPI_Comm comm = MPI_COMM_NULL;
  OwnedComm owned;  // `comm`, unless that is MPI_COMM_WORLD
  std::unique_ptr<RankReduction> reduction;

  void duplicate(MPI_Comm other) {
    LOCKSTEP_MPI(MPI_Comm_dup(other, &comm));
    owned = OwnedComm(comm);
    LOCKSTEP_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
  }
};

namespace {

constexpr std::chrono::microseconds kLongestPause{2000};  // of a sleeping barrier
constexpr int64_t kMaxPiece = int64_t{1} << 30;           // elements of one MPI call; counts are int

template <typename T>
void all_reduce_in_place(MPI_Comm comm, T* values, int64_t n_elements, MPI_Op op) {
  const InCollective told("an all-reduce");
  for (int64_t begin = 0; begin < n_elements; begin += kMaxPiece) {
    const int count = int(std::min(kMaxPiece, n_elements - begin));
    LOCKSTEP_MPI(MPI_Allreduce(MPI_IN_PLACE, values + begin, count, mpi_type<T>(), op, comm));
  }
}

/// MPI as a program started it.
void check_mpi_of_program() {
  int initialized = 0, finalized = 0, provided = MPI_THREAD_SINGLE;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (!initialized || finalized)
    throw Error(
        "Communicator::of", finalized ? "MPI has ended already" : "MPI has not been started",
        "call MPI_Init_thread(…, MPI_THREAD_MULTIPLE, …) before, and MPI_Finalize after the last use");
  LOCKSTEP_MPI(MPI_Query_thread(&provided));
  if (provided < MPI_THREAD_MULTIPLE)
    throw Error(
        "Communicator::of", "MPI was started with less than MPI_THREAD_MULTIPLE",
        "start it by MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided): gradients travel on "
        "a thread of their own");
}

}  // namespace

Communicator::Communicator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  LOCKSTEP_MPI(MPI_Comm_rank(impl_->comm, &rank_));
  LOCKSTEP_MPI(MPI_Comm_size(impl_->comm, &size_));
}
Communicator::~Communicator() = default;
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;

void Communicator::count_ranks_of_host() {
  MPI_Comm host = MPI_COMM_NULL;
  LOCKSTEP_MPI(MPI_Comm_split_type(impl_->comm, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host));
  LOCKSTEP_MPI(MPI_Comm_rank(host, &local_rank_));
  LOCKSTEP_MPI(MPI_Comm_size(host, &local_size_));
  LOCKSTEP_MPI(MPI_Comm_free(&host));
}

Communicator Communicator::world() {
  auto impl = std::make_unique<Impl>();
  impl->comm = MPI_COMM_WORLD;
  Communicator world(std::move(impl));
  world.count_ranks_of_host();
  return world;
}

Communicator Communicator::of(const void* mpi_comm) {
  check_mpi_of_program();
  const MPI_Comm given = *static_cast<const MPI_Comm*>(mpi_comm);
  if (given == MPI_COMM_NULL)
    throw Error("Communicator::of", "the communicator is MPI_COMM_NULL: this rank is none of its ranks",
                "call it, and train, on the ranks of the communicator alone");
  move_handlers_to_signal_stacks();
  auto impl = std::make_unique<Impl>();
  impl->duplicate(given);
  Communicator comm(std::move(impl));
  comm.count_ranks_of_host();
  return comm;
}

Communicator Communicator::self() {
  auto impl = std::make_unique<Impl>();
  impl->duplicate(MPI_COMM_SELF);  // whose error handler is the program's
  return Communicator(std::move(impl));
}

Communicator Communicator::duplicate() const {
  auto impl = std::make_unique<Impl>();
  impl->duplicate(impl_->comm);
  Communicator copy(std::move(impl));
  copy.local_rank_ = local_rank_;
  copy.local_size_ = local_size_;
  return copy;
}

void* Communicator::native_handle() const { return &impl_->comm; }

void Communicator::barrier() {
  const InCollective told("a barrier");
  LOCKSTEP_MPI(MPI_Barrier(impl_->comm));
}

void Communicator::sleeping_barrier() {
  const InCollective told("a barrier");
  MPI_Request request = MPI_REQUEST_NULL;
  LOCKSTEP_MPI(MPI_Ibarrier(impl_->comm, &request));
  for (auto pause = std::chrono::microseconds(50);; pause = std::min(2 * pause, kLongestPause)) {
    int done = 0;
    LOCKSTEP_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    if (done) return;
    std::this_thread::sleep_for(pause);
  }
}

void Communicator::broadcast(void* data, int64_t n_bytes, int root) {
  const InCollective told("a broadcast");
  auto* bytes = static_cast<char*>(data);
  for (int64_t begin = 0; begin < n_bytes; begin += kMaxPiece) {
    const int count = int(std::min(kMaxPiece, n_bytes - begin));
    LOCKSTEP_MPI(MPI_Bcast(bytes + begin, count, MPI_BYTE, root, impl_->comm));
  }
}

std::string Communicator::broadcast_string(const std::string& text, int root) {
  int64_t n_bytes = int64_t(text.size());
  broadcast(&n_bytes, sizeof(n_bytes), root);
  std::string result = rank_ == root ? text : std::string(size_t(n_bytes), '\0');
  broadcast(result.data(), n_bytes, root);
  return result;
}

std::vector<std::string> Communicator::all_gather_strings(const std::string& text) {
  const InCollective told("an all-gather");
  const int64_t own_bytes = int64_t(text.size());
  std::vector<int64_t> n_bytes(static_cast<size_t>(size_));
  LOCKSTEP_MPI(MPI_Allgather(&own_bytes, 1, MPI_INT64_T, n_bytes.data(), 1, MPI_INT64_T, impl_->comm));
  std::vector<int> counts, offsets;
  int64_t total_bytes = 0;
  for (const int64_t count : n_bytes) {
    offsets.push_back(int(total_bytes));
    counts.push_back(int(count));
    total_bytes += count;
    if (total_bytes > std::numeric_limits<int>::max())
      throw Error("all_gather_strings", "the ranks' texts together exceed 2 GiB",
                  "gather shorter texts, or in several calls");
  }
  std::string all(size_t(total_bytes), '\0');
  LOCKSTEP_MPI(MPI_Allgatherv(text.data(), int(own_bytes), MPI_BYTE, all.data(), counts.data(),
                              offsets.data(), MPI_BYTE, impl_->comm));
  std::vector<std::string> result;
  for (size_t r = 0; r < counts.size(); ++r)
    result.push_back(all.substr(size_t(offsets[r]), size_t(counts[r])));
  return result;
}

int64_t Communicator::all_reduce_max(int64_t value) {
  all_reduce_in_place(impl_->comm, &value, 1, MPI_MAX);
  return value;
}

int64_t Communicator::all_reduce_sum(int64_t value) {
  all_reduce_in_place(impl_->comm, &value, 1, MPI_SUM);
  return value;
}

bool Communicator::all_equal(std::span<const uint64_t> words) {
  const InCollective told("an all-reduce");
  // Words are equal where what all have in common is what some have: AND of w against NOT AND of NOT w.
  std::vector<uint64_t> common(words.begin(), words.end());
  for (const uint64_t word : words) common.push_back(~word);
  LOCKSTEP_MPI(
      MPI_Allreduce(MPI_IN_PLACE, common.data(), int(common.size()), MPI_UINT64_T, MPI_BAND, impl_->comm));
  for (size_t i = 0; i < words.size(); ++i)
    if (common[i] != ~common[words.size() + i]) return false;
  return true;
}

RankReduction& Communicator::reduction() {
  if (!impl_->reduction) impl_->reduction = std::make_unique<RankReduction>(*this);
  return *impl_->reduction;
}

void Communicator::all_reduce(std::span<float> values, Reduction reduction) {
  const InCollective told("an all-reduce");
  this->reduction().all_reduce(values.data(), int64_t(values.size()), reduction);
}
void Communicator::all_reduce(std::span<double> values, Reduction reduction) {
  const InCollective told("an all-reduce");
  this->reduction().all_reduce(values.data(), int64_t(values.size()), reduction);
}

void Communicator::native_all_reduce(std::span<float> values) {
  all_reduce_in_place(impl_->comm, values.data(), int64_t(values.size()), MPI_SUM);
}
void Communicator::native_all_reduce(std::span<double> values) {
  all_reduce_in_place(impl_->comm, values.data(), int64_t(values.size()), MPI_SUM);
}
void Communicator::native_all_reduce(std::span<int64_t> values) {
  all_reduce_in_place(impl_->comm, values.data(), int64_t(values.size()), MPI_SUM);
}

}  // namespace lockstep
