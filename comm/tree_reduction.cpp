// The fixed-tree all-reduce. Order of additions: at distance d the ranks of a pair hold the
// sums of two neighbouring groups of d ranks; the lower group is always the left operand.
// Guarded by tests/comm/tree_reduction_test.cpp (bit equality with a serial emulation).
#include "comm/tree_reduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <thread>

#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr int kTag = 71;

/// The two messages of one exchange with a partner. Left early, it withdraws them, so that
/// MPI writes into no buffer that its owner is about to free.
class Exchange {
 public:
  template <typename T>
  Exchange(MPI_Comm comm, int partner, T* receive, int64_t n_receive, const T* send, int64_t n_send) {
    if (n_receive > 0)
      LOCKSTEP_MPI(MPI_Irecv(receive, int(n_receive), mpi_type<T>(), partner, kTag, comm, &requests_[0]));
    if (n_send > 0)
      LOCKSTEP_MPI(MPI_Isend(send, int(n_send), mpi_type<T>(), partner, kTag, comm, &requests_[1]));
  }
  ~Exchange() {
    for (MPI_Request& request : requests_) {
      if (request == MPI_REQUEST_NULL) continue;
      MPI_Cancel(&request);
      MPI_Request_free(&request);
    }
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void wait(const Patience& patience) {
    for (MPI_Request& request : requests_) patience.wait(&request);
  }

 private:
  std::array<MPI_Request, 2> requests_{MPI_REQUEST_NULL, MPI_REQUEST_NULL};
};

/// left = left + right or right + left; the lower ranks' group is the left operand, which
/// matters for the payload of NaNs only, as the addition itself commutes.
template <typename T>
void add(T* __restrict values, const T* __restrict other, int64_t n, bool other_is_lower) {
  if (other_is_lower)
    for (int64_t i = 0; i < n; ++i) values[i] = other[i] + values[i];
  else
    for (int64_t i = 0; i < n; ++i) values[i] = values[i] + other[i];
}

/// Short vectors: at each distance partners exchange all they have. log2(P) messages.
template <typename T>
void reduce_by_doubling(MPI_Comm comm, int rank, int size, T* values, int64_t n, T* scratch,
                        const Patience& patience) {
  for (int distance = 1; distance < size; distance *= 2) {
    const int partner = rank ^ distance;
    Exchange exchange(comm, partner, scratch, n, values, n);
    exchange.wait(patience);
    add(values, scratch, n, partner < rank);
  }
}

/// Long vectors: at each distance a pair splits what both hold, the lower rank keeps the
/// lower half; then the halves travel back. 2(P-1)/P of the vector per rank.
template <typename T>
void reduce_by_halving(MPI_Comm comm, int rank, int size, T* values, int64_t n, T* scratch,
                       const Patience& patience) {
  struct Level {
    int partner;
    int64_t keep, n_keep, give, n_give;
  };
  std::array<Level, 32> levels;
  int n_levels = 0;
  int64_t begin = 0, end = n;
  for (int distance = 1; distance < size; distance *= 2, ++n_levels) {
    const int partner = rank ^ distance;
    const int64_t middle = begin + (end - begin) / 2;
    Level& level = levels[size_t(n_levels)];
    if (rank < partner) {
      level = {partner, begin, middle - begin, middle, end - middle};
      end = middle;
    } else {
      level = {partner, middle, end - middle, begin, middle - begin};
      begin = middle;
    }
    Exchange exchange(comm, partner, scratch, level.n_keep, values + level.give, level.n_give);
    exchange.wait(patience);
    add(values + level.keep, scratch, level.n_keep, partner < rank);
  }
  while (n_levels-- > 0) {
    const Level& level = levels[size_t(n_levels)];
    Exchange exchange(comm, level.partner, values + level.give, level.n_give, values + level.keep,
                      level.n_keep);
    exchange.wait(patience);
  }
}

}  // namespace

void Patience::wait(MPI_Request* request) const {
  if (hurry == nullptr && abandon == nullptr) {
    LOCKSTEP_MPI(MPI_Wait(request, MPI_STATUS_IGNORE));
    return;
  }
  // A few looks at once, then naps: the compute threads may own the only core.
  for (int looks = 0;; ++looks) {
    int done = 0;
    LOCKSTEP_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done) return;
    if (abandon != nullptr && abandon->load(std::memory_order_relaxed))
      throw Error(rank_and_host(), "the gradient reduction was abandoned");
    if (looks < 64 || (hurry != nullptr && hurry->load(std::memory_order_relaxed)))
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void check_tree_size(int size) {
  if (size > 0 && std::has_single_bit(unsigned(size))) return;
  const unsigned below = std::bit_floor(unsigned(std::max(size, 1)));
  throw Error(
      "tree reduction", fmt::format("the fixed-tree sum needs a power-of-two number of ranks, not {}", size),
      fmt::format("start {} or {} ranks, or set `reduction: native` (its bits depend on the number of ranks)",
                  below, 2 * below));
}

template <typename T>
void tree_all_reduce(MPI_Comm comm, T* values, int64_t n_elements, T* scratch, const TreeTuning& tuning,
                     const Patience& patience) {
  int rank = 0, size = 1;
  LOCKSTEP_MPI(MPI_Comm_rank(comm, &rank));
  LOCKSTEP_MPI(MPI_Comm_size(comm, &size));
  if (size == 1 || n_elements == 0) return;
  if (n_elements * int64_t(sizeof(T)) <= tuning.doubling_bytes) {
    reduce_by_doubling(comm, rank, size, values, n_elements, scratch, patience);
    return;
  }
  const int64_t block = std::max<int64_t>(1, tuning.block_bytes / int64_t(sizeof(T)));
  for (int64_t begin = 0; begin < n_elements; begin += block)
    reduce_by_halving(comm, rank, size, values + begin, std::min(block, n_elements - begin), scratch,
                      patience);
}

template void tree_all_reduce(MPI_Comm, float*, int64_t, float*, const TreeTuning&, const Patience&);
template void tree_all_reduce(MPI_Comm, double*, int64_t, double*, const TreeTuning&, const Patience&);

}  // namespace lockstep
