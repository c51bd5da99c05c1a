// Which ranks share a host is asked once; every rank comes to the same decisions from the same table.
#include "comm/reduction/rank_reduction.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <exception>
#include <map>
#include <utility>

#include "comm/mpi_check.h"
#include "comm/reduction/tree_reduction.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr int64_t kMaxPiece = int64_t{1} << 30;  // elements of one MPI call; counts are int

/// Between hosts messages travel, which longer blocks make fewer.
constexpr HostTuning kSeveralHosts{.block_bytes = 4 << 20, .slice_bytes = 256 << 10};

MPI_Comm ranks_of_host(MPI_Comm comm, int rank, int ranks_per_host) {
  MPI_Comm host = MPI_COMM_NULL;
  if (ranks_per_host > 0)
    LOCKSTEP_MPI(MPI_Comm_split(comm, rank / ranks_per_host, rank, &host));
  else
    LOCKSTEP_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host));
  return host;
}

/// Whether equal power-of-two numbers of consecutive ranks share a host. leaders: of every rank, the lowest
/// rank on its host.
bool hosts_are_subtrees(const std::vector<int>& leaders, int per_host) {
  if (!std::has_single_bit(unsigned(per_host)) || !std::has_single_bit(leaders.size())) return false;
  for (size_t r = 0; r < leaders.size(); ++r) {
    if (leaders[r] != int(r) / per_host * per_host) return false;
  }
  return true;
}

template <typename T>
void mpi_all_reduce(MPI_Comm comm, T* values, int64_t n, const Patience& patience) {
  for (int64_t begin = 0; begin < n; begin += kMaxPiece) {
    const int count = int(std::min(kMaxPiece, n - begin));
    if (patience.hurry == nullptr && patience.abandon == nullptr) {
      LOCKSTEP_MPI(MPI_Allreduce(MPI_IN_PLACE, values + begin, count, mpi_type<T>(), MPI_SUM, comm));
      continue;
    }
    MPI_Request request = MPI_REQUEST_NULL;
    LOCKSTEP_MPI(MPI_Iallreduce(MPI_IN_PLACE, values + begin, count, mpi_type<T>(), MPI_SUM, comm, &request));
    patience.wait(&request);
  }
}

}  // namespace

OwnedComm::~OwnedComm() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (comm_ != MPI_COMM_NULL && !finalized && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}
OwnedComm::OwnedComm(OwnedComm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}
OwnedComm& OwnedComm::operator=(OwnedComm&& other) noexcept {
  std::swap(comm_, other.comm_);
  return *this;
}

RankReduction::RankReduction(const Communicator& comm, const PretendedHosts& hosts, Wire wire)
    : comm_(mpi_comm(comm)), rank_(comm.rank()), size_(comm.size()), wire_(wire) {
  if (size_ == 1) return;
  scratch_.resize(size_t(tree_scratch_elements(INT64_MAX, sizeof(double), size_, TreeTuning{})));
  host_comm_ = OwnedComm(ranks_of_host(comm_, comm.rank(), hosts.n_ranks));
  int local_rank = 0, leader = comm.rank();
  LOCKSTEP_MPI(MPI_Comm_rank(host_comm_.get(), &local_rank));
  LOCKSTEP_MPI(MPI_Bcast(&leader, 1, MPI_INT, 0, host_comm_.get()));
  std::vector<int> leaders(static_cast<size_t>(size_));
  LOCKSTEP_MPI(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, comm_));
  std::map<int, int> n_ranks;  // by leader
  for (const int l : leaders) ++n_ranks[l];
  int lanes = size_;
  for (const auto& [l, n] : n_ranks) lanes = std::min(lanes, n);
  one_host_ = n_ranks.size() == 1;
  if (int(n_ranks.size()) == size_) return;  // one rank per host

  is_subtree_ = hosts_are_subtrees(leaders, n_ranks[leader]);
  const HostTuning tuning = one_host_ ? HostTuning{} : kSeveralHosts;
  host_ = HostReduction::make(host_comm_.get(), lanes, hosts.tuning.value_or(tuning), wire);
  int all_share = host_ != nullptr;
  LOCKSTEP_MPI(MPI_Allreduce(MPI_IN_PLACE, &all_share, 1, MPI_INT, MPI_MIN, comm_));
  if (!all_share) host_.reset();
  if (host_ && !one_host_) {
    MPI_Comm lane = MPI_COMM_NULL;
    LOCKSTEP_MPI(MPI_Comm_split(comm_, local_rank < lanes ? local_rank : MPI_UNDEFINED, comm.rank(), &lane));
    lane_comm_ = OwnedComm(lane);
  }
}

std::byte* RankReduction::shared_memory(int64_t n_bytes) {
  if (!host_) return nullptr;
  arena_ = SharedSegments::make(host_comm_.get(), n_bytes);
  int all_share = arena_ != nullptr;
  LOCKSTEP_MPI(MPI_Allreduce(MPI_IN_PLACE, &all_share, 1, MPI_INT, MPI_MIN, comm_));
  if (!all_share) arena_.reset();
  if (!arena_) return nullptr;
  host_->share(*arena_);
  int local_rank = 0;
  LOCKSTEP_MPI(MPI_Comm_rank(host_comm_.get(), &local_rank));
  return arena_->of(local_rank);
}

template <typename T>
void RankReduction::between_hosts(T* values, int64_t n_elements, Reduction reduction,
                                  const Patience& patience) {
  if (reduction == Reduction::kTree)
    tree_all_reduce(lane_comm_.get(), values, n_elements, reinterpret_cast<T*>(scratch_.data()), TreeTuning{},
                    patience, wire_);
  else
    mpi_all_reduce(lane_comm_.get(), values, n_elements, patience);
}

template <typename T>
void RankReduction::all_reduce(T* values, int64_t n_elements, Reduction reduction, const Patience& patience) {
  if (reduction == Reduction::kTree) check_tree_size(size_);
  if (size_ == 1 || n_elements == 0) return;
  if (host_ && one_host_) return host_->all_reduce<T>(values, n_elements, {}, patience);
  if (goes_through_hosts(reduction)) {
    host_->all_reduce<T>(
        values, n_elements, [&](T* slice, int64_t n) { between_hosts(slice, n, reduction, patience); },
        patience);
  } else if (reduction == Reduction::kTree) {
    tree_all_reduce(comm_, values, n_elements, reinterpret_cast<T*>(scratch_.data()), TreeTuning{}, patience,
                    wire_);
  } else {
    mpi_all_reduce(comm_, values, n_elements, patience);
  }
}

bool RankReduction::goes_through_hosts(Reduction reduction) const {
  return host_ && (reduction == Reduction::kHierarchical || (reduction == Reduction::kTree && is_subtree_));
}

RankReduction::Scatter RankReduction::scatter(Reduction reduction) const {
  if (host_ && one_host_) return arena_ ? Scatter::kInSharedMemory : Scatter::kWhole;
  const bool by_tree = reduction == Reduction::kTree && !goes_through_hosts(reduction);
  return by_tree ? Scatter::kByTree : Scatter::kWhole;
}

std::vector<ElementRange> RankReduction::own_parts(int64_t n_elements, Reduction reduction) const {
  if (scatter(reduction) == Scatter::kByTree) return tree_own_parts(rank_, size_, n_elements, TreeTuning{});
  const ElementRange part = part_of(n_elements, rank_, size_);
  return part.n() > 0 ? std::vector<ElementRange>{part} : std::vector<ElementRange>{};
}

void RankReduction::reduce_scatter(float* values, int64_t n_elements, Reduction reduction,
                                   const Patience& patience) {
  if (reduction == Reduction::kTree) check_tree_size(size_);
  if (size_ == 1 || n_elements == 0) return;
  switch (scatter(reduction)) {
    case Scatter::kInSharedMemory: return host_->reduce_scatter(values, n_elements, patience);
    case Scatter::kByTree:
      return tree_reduce_scatter(comm_, values, n_elements, reinterpret_cast<float*>(scratch_.data()),
                                 TreeTuning{}, patience, wire_);
    case Scatter::kWhole: return all_reduce(values, n_elements, reduction, patience);
  }
}

void RankReduction::all_gather(float* values, int64_t n_elements, Reduction reduction,
                               const Patience& patience) {
  if (size_ == 1 || n_elements == 0) return;
  if (host_ && one_host_) return host_->all_gather(values, n_elements, patience);
  if (scatter(reduction) == Scatter::kByTree)
    return tree_all_gather(comm_, values, n_elements, TreeTuning{}, patience);
  if (n_elements > INT_MAX)
    throw Error("all-gather", "a tensor of more than 2^31 elements cannot travel in one call of MPI",
                "use `reduction: tree`, or no sharding of the optimizer's state");
  std::vector<int> counts, offsets;
  for (int r = 0; r < size_; ++r) {
    const ElementRange part = part_of(n_elements, r, size_);
    counts.push_back(int(part.n()));
    offsets.push_back(int(part.begin));
  }
  MPI_Request request = MPI_REQUEST_NULL;
  LOCKSTEP_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, counts.data(), offsets.data(),
                               MPI_FLOAT, comm_, &request));
  patience.wait(&request);
}

template void RankReduction::all_reduce(float*, int64_t, Reduction, const Patience&);
template void RankReduction::all_reduce(double*, int64_t, Reduction, const Patience&);

}  // namespace lockstep
