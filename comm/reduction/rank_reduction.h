// The sum of a vector over all ranks, the way that `reduction` of a job names: within each host through
// shared memory (host_reduction.h), between hosts by messages of those ranks that own a slice.
//
// `tree` keeps its one tree: hosts are subtrees of it where each has the same power-of-two number of
// consecutively numbered ranks; else all ranks exchange messages (tree_reduction.h). `native` uses shared
// memory where one host has all ranks, else MPI's own all-reduce. `hierarchical` always goes through hosts.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction/host_reduction.h"

namespace lockstep {

/// A communicator that frees itself: collective, so not while an exception unwinds nor after MPI's end.
class OwnedComm {
 public:
  OwnedComm() = default;
  explicit OwnedComm(MPI_Comm comm) : comm_(comm) {}
  ~OwnedComm();
  OwnedComm(OwnedComm&& other) noexcept;
  OwnedComm& operator=(OwnedComm&& other) noexcept;
  MPI_Comm get() const { return comm_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

/// For tests: hosts among the ranks of one machine.
struct PretendedHosts {
  int n_ranks = 0;  // consecutive ranks on each, the last may have fewer; 0: MPI knows
  std::optional<HostTuning> tuning;
};

class RankReduction {
 public:
  /// Collective. `comm` outlives it and carries its messages.
  /// wire: of floats under kTree, which is then to be the only reduction of floats.
  explicit RankReduction(const Communicator& comm, const PretendedHosts& hosts = {},
                         Wire wire = Wire::kFloat32);

  /// Collective. Memory of n_bytes whose parts all_reduce() sums in place, without copies. Null where ranks
  /// share none: use any memory then. Once; it lives as long as this.
  std::byte* shared_memory(int64_t n_bytes);

  /// Collective. Sums `values` over the ranks in place. kTree throws Error unless their number is a power
  /// of two. T: float or double.
  template <typename T>
  void all_reduce(T* values, int64_t n_elements, Reduction reduction, const Patience& patience = {});

  /// Collective. The same sums, but of each element one rank alone has it: own_parts() of a vector of that
  /// length are this rank's, the rest is not defined. `values` lie in shared_memory() where there is one.
  void reduce_scatter(float* values, int64_t n_elements, Reduction reduction, const Patience& patience = {});
  /// Collective. Every rank gives its own_parts() of `values` to all, in any memory.
  void all_gather(float* values, int64_t n_elements, Reduction reduction, const Patience& patience = {});
  /// Ascending; those of all ranks make up the vector. To be asked after shared_memory().
  std::vector<ElementRange> own_parts(int64_t n_elements, Reduction reduction) const;

 private:
  enum class Scatter : uint8_t { kInSharedMemory, kByTree, kWhole };  // kWhole: all get all sums
  Scatter scatter(Reduction reduction) const;
  bool goes_through_hosts(Reduction reduction) const;
  template <typename T>
  void between_hosts(T* values, int64_t n_elements, Reduction reduction, const Patience& patience);

  MPI_Comm comm_;
  int rank_, size_;
  Wire wire_;
  OwnedComm host_comm_, lane_comm_;  // the ranks of this host; the owners of one slice on all hosts
  bool one_host_ = false;
  bool is_subtree_ = false;              // hosts are subtrees of the tree over ranks
  std::unique_ptr<HostReduction> host_;  // null: messages only
  std::unique_ptr<SharedSegments> arena_;
  std::vector<double> scratch_;  // of messages
};

}  // namespace lockstep
