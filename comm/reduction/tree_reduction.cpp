// The fixed-tree all-reduce. Order of additions: at distance d the ranks of a pair hold the
// sums of two neighbouring groups of d ranks; the lower group is always the left operand.
// Guarded by tests/comm/tree_reduction_test.cpp (bit equality with a serial emulation).
#include "comm/reduction/tree_reduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

#include "comm/mpi_check.h"
#include "kernels/bfloat16.h"
#include "kernels/error.h"
#include "kernels/vectorize.h"

namespace lockstep {
namespace {

constexpr int kTag = 71;

/// The two messages of one exchange with a partner. Left early, it withdraws them, so that
/// MPI writes into no buffer that its owner is about to free.
template <typename T>
class Exchange {
 public:
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

// left = left + right for vectors that do not overlap. Two plain functions, as clones for
// several instruction sets are made of functions, not of templates.
LOCKSTEP_VECTORIZE void add_right(float* __restrict left, const float* __restrict right, int64_t n) {
  for (int64_t i = 0; i < n; ++i) left[i] = left[i] + right[i];
}
LOCKSTEP_VECTORIZE void add_right(double* __restrict left, const double* __restrict right, int64_t n) {
  for (int64_t i = 0; i < n; ++i) left[i] = left[i] + right[i];
}
LOCKSTEP_VECTORIZE void add_left(const float* __restrict left, float* __restrict right, int64_t n) {
  for (int64_t i = 0; i < n; ++i) right[i] = left[i] + right[i];
}
LOCKSTEP_VECTORIZE void add_left(const double* __restrict left, double* __restrict right, int64_t n) {
  for (int64_t i = 0; i < n; ++i) right[i] = left[i] + right[i];
}

/// values = lower group + higher group. The addition commutes in all but the payload of
/// NaNs; with the lower ranks' group always on the left, even that is the same everywhere.
template <typename T>
void add(T* values, const T* received, int64_t n, bool received_is_lower) {
  received_is_lower ? add_left(received, values, n) : add_right(values, received, n);
}

LOCKSTEP_VECTORIZE void add_rounded(const cpu::BFloat16* __restrict left, float* __restrict right,
                                    int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    right[i] = cpu::to_float(cpu::from_float<cpu::BFloat16>(cpu::to_float(left[i]) + right[i]));
}

struct Ranks {
  MPI_Comm comm;
  int rank, size;
};

/// Both sides of an exchange: n elements from `data` on.
template <typename T>
struct Part {
  T* data;
  int64_t n;
};

/// Values travel as they are.
template <typename T>
struct PlainMessages {
  Ranks ranks;
  T* scratch;
  const Patience& patience;

  /// keep = keep + the partner's; the partner gets `give`.
  void add_to(Part<T> keep, Part<T> give, int partner) const {
    Exchange<T>(ranks.comm, partner, scratch, keep.n, give.data, give.n).wait(patience);
    add(keep.data, scratch, keep.n, partner < ranks.rank);
  }
  /// take = the partner's; the partner gets `give`.
  void replace(Part<T> take, Part<T> give, int partner) const {
    Exchange<T>(ranks.comm, partner, take.data, take.n, give.data, give.n).wait(patience);
  }
};

/// Values that bfloat16 can hold travel as such, and so do their sums.
struct BFloat16Messages {
  Ranks ranks;
  float* scratch;
  const Patience& patience;

  void add_to(Part<float> keep, Part<float> give, int partner) const {
    add_rounded(exchange(keep.n, give, partner), keep.data, keep.n);
  }
  void replace(Part<float> take, Part<float> give, int partner) const {
    cpu::convert_to_float32(take.n, exchange(take.n, give, partner), take.data);
  }

 private:
  const cpu::BFloat16* exchange(int64_t n_receive, Part<float> give, int partner) const {
    auto* received = reinterpret_cast<uint16_t*>(scratch);
    uint16_t* sent = received + n_receive;
    cpu::convert_to_bfloat16(give.n, give.data, reinterpret_cast<cpu::BFloat16*>(sent));
    Exchange<uint16_t>(ranks.comm, partner, received, n_receive, sent, give.n).wait(patience);
    return reinterpret_cast<const cpu::BFloat16*>(received);
  }
};

/// Short vectors: at each distance partners exchange all they have. log2(P) messages.
template <typename T, typename Messages>
void reduce_by_doubling(const Messages& messages, T* values, int64_t n) {
  for (int distance = 1; distance < messages.ranks.size; distance *= 2)
    messages.add_to({values, n}, {values, n}, messages.ranks.rank ^ distance);
}

/// How a block is halved: at distances 1, 2, 4 … a pair splits the range that both hold, the lower rank
/// keeps the lower half.
struct Halving {
  struct Level {
    int partner;
    int64_t keep, n_keep, give, n_give;  // element offsets and counts
  };
  std::array<Level, 31> levels;
  size_t n_levels = 0;
  ElementRange own;  // what remains

  Halving(int rank, int size, int64_t n) : own{0, n} {
    for (int distance = 1; distance < size; distance *= 2) {
      const int partner = rank ^ distance;
      const int64_t middle = own.begin + own.n() / 2 / kPartAlignment * kPartAlignment;
      if (rank < partner) {
        levels[n_levels++] = {partner, own.begin, middle - own.begin, middle, own.end - middle};
        own.end = middle;
      } else {
        levels[n_levels++] = {partner, middle, own.end - middle, own.begin, middle - own.begin};
        own.begin = middle;
      }
    }
  }
};

/// Each gives one half away and adds up the other: (P-1)/P of the block per rank.
template <typename T, typename Messages>
void scatter_sums(const Messages& messages, const Halving& halving, T* values) {
  for (size_t l = 0; l < halving.n_levels; ++l) {
    const Halving::Level& level = halving.levels[l];
    messages.add_to({values + level.keep, level.n_keep}, {values + level.give, level.n_give}, level.partner);
  }
}

/// The way back: as much again.
template <typename T, typename Messages>
void gather_parts(const Messages& messages, const Halving& halving, T* values) {
  for (size_t l = halving.n_levels; l-- > 0;) {
    const Halving::Level& level = halving.levels[l];
    messages.replace({values + level.give, level.n_give}, {values + level.keep, level.n_keep}, level.partner);
  }
}

Ranks ranks_of(MPI_Comm comm) {
  Ranks ranks{comm, 0, 1};
  LOCKSTEP_MPI(MPI_Comm_rank(comm, &ranks.rank));
  LOCKSTEP_MPI(MPI_Comm_size(comm, &ranks.size));
  return ranks;
}

/// Calls visit(begin, length) for every block.
template <typename Visit>
void for_each_block(int64_t n_elements, int64_t block, Visit&& visit) {
  for (int64_t begin = 0; begin < n_elements; begin += block)
    visit(begin, std::min(block, n_elements - begin));
}

/// The shortest messages are a P-th of a block; they must carry more than they cost.
int64_t block_elements(int64_t element_bytes, int size, const TreeTuning& tuning) {
  const int64_t block_bytes = std::max(tuning.block_bytes, size * tuning.shortest_bytes);
  const int64_t n = block_bytes / element_bytes;
  return n < kPartAlignment ? std::max<int64_t>(1, n) : n / kPartAlignment * kPartAlignment;
}

}  // namespace

void check_tree_size(int size) {
  if (size > 0 && std::has_single_bit(unsigned(size))) return;
  const unsigned below = std::bit_floor(unsigned(std::max(size, 1)));
  throw Error(
      "tree reduction", fmt::format("the fixed-tree sum needs a power-of-two number of ranks, not {}", size),
      fmt::format("start {} or {} ranks, or set `reduction: native` (its bits depend on the number of ranks)",
                  below, 2 * below));
}

int64_t tree_scratch_elements(int64_t n_elements, int64_t element_bytes, int size, const TreeTuning& tuning) {
  return std::min(n_elements, std::max(block_elements(element_bytes, size, tuning),
                                       tuning.doubling_bytes / element_bytes));
}

namespace {

template <typename T, typename Messages>
void all_reduce(const Messages& messages, T* values, int64_t n_elements, const TreeTuning& tuning) {
  const Ranks& ranks = messages.ranks;
  if (n_elements * int64_t(sizeof(T)) <= tuning.doubling_bytes)
    return reduce_by_doubling(messages, values, n_elements);
  for_each_block(n_elements, block_elements(sizeof(T), ranks.size, tuning), [&](int64_t begin, int64_t n) {
    const Halving halving(ranks.rank, ranks.size, n);
    scatter_sums(messages, halving, values + begin);
    gather_parts(messages, halving, values + begin);
  });
}

}  // namespace

template <typename T>
void tree_all_reduce(MPI_Comm comm, T* values, int64_t n_elements, T* scratch, const TreeTuning& tuning,
                     const Patience& patience, Wire wire) {
  const Ranks ranks = ranks_of(comm);
  if (ranks.size == 1 || n_elements == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (wire == Wire::kBFloat16)
      return all_reduce(BFloat16Messages{ranks, scratch, patience}, values, n_elements, tuning);
  }
  all_reduce(PlainMessages<T>{ranks, scratch, patience}, values, n_elements, tuning);
}

void tree_reduce_scatter(MPI_Comm comm, float* values, int64_t n_elements, float* scratch,
                         const TreeTuning& tuning, const Patience& patience, Wire wire) {
  const Ranks ranks = ranks_of(comm);
  for_each_block(n_elements, block_elements(sizeof(float), ranks.size, tuning),
                 [&](int64_t begin, int64_t n) {
                   const Halving halving(ranks.rank, ranks.size, n);
                   if (wire == Wire::kBFloat16)
                     scatter_sums(BFloat16Messages{ranks, scratch, patience}, halving, values + begin);
                   else
                     scatter_sums(PlainMessages<float>{ranks, scratch, patience}, halving, values + begin);
                 });
}

void tree_all_gather(MPI_Comm comm, float* values, int64_t n_elements, const TreeTuning& tuning,
                     const Patience& patience) {
  const Ranks ranks = ranks_of(comm);
  for_each_block(n_elements, block_elements(sizeof(float), ranks.size, tuning),
                 [&](int64_t begin, int64_t n) {
                   gather_parts(PlainMessages<float>{ranks, nullptr, patience},
                                Halving(ranks.rank, ranks.size, n), values + begin);
                 });
}

std::vector<ElementRange> tree_own_parts(int rank, int size, int64_t n_elements, const TreeTuning& tuning) {
  std::vector<ElementRange> parts;
  for_each_block(n_elements, block_elements(sizeof(float), size, tuning), [&](int64_t begin, int64_t n) {
    const ElementRange own = Halving(rank, size, n).own;
    if (own.n() > 0) parts.push_back({begin + own.begin, begin + own.end});
  });
  return parts;
}

template void tree_all_reduce(MPI_Comm, float*, int64_t, float*, const TreeTuning&, const Patience&, Wire);
template void tree_all_reduce(MPI_Comm, double*, int64_t, double*, const TreeTuning&, const Patience&, Wire);

}  // namespace lockstep
