// Ranks: who takes part, and the collectives that training needs. One implementation over
// MPI; device buffers go through NCCL where the build and the machine have it.
//
// Every collective is called by all ranks in the same order. An MPI failure throws Error
// with the call, MPI's own text and the rank.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

class RankReduction;

/// Initialises MPI (MPI_THREAD_MULTIPLE) in its constructor and finalises it in its
/// destructor. One per process, in main(). The constructor throws Error when the launcher
/// started several processes that MPI does not connect. While an exception unwinds past it,
/// the destructor does not finalise, as the other ranks may never get there: main() catches
/// what only one rank knows of and calls abort_all().
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
};

/// How sums over ranks are formed. kTree: one binary tree over rank indices, equal bits on 1, 2, 4 … ranks.
/// kHierarchical: on each host first, then between hosts. kNative: what is fastest, MPI's order between
/// hosts.
enum class Reduction : uint8_t { kTree, kNative, kHierarchical };

/// How float32 gradients travel: as they are, or as bfloat16, where every sum of two is rounded to it.
enum class Wire : uint8_t { kFloat32, kBFloat16 };

class Communicator {
 public:
  /// All ranks. Needs a living MpiSession.
  static Communicator world();
  /// Of a program with a main and an MPI of its own: the ranks of `mpi_comm`, a pointer to the program's
  /// MPI_Comm, which may be some of all. Collective over them. It is duplicated, so that no message meets the
  /// program's, and keeps its own error handler; the result is to end before MPI_Finalize. Signal handlers
  /// run on stacks of their own from then on (kernels/signal_stack.h). Throws Error where MPI is not running
  /// or has less than MPI_THREAD_MULTIPLE, and on ranks that are none of mpi_comm's.
  static Communicator of(const void* mpi_comm);
  /// This rank alone.
  static Communicator self();
  ~Communicator();
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;

  /// Collective. The same ranks with separate message matching, for use on another thread.
  Communicator duplicate() const;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }  // among the ranks of this host
  int local_size() const { return local_size_; }
  bool is_root() const { return rank_ == 0; }

  void barrier();
  /// A barrier that sleeps while it waits (milliseconds at a time) instead of spinning, for threads
  /// beside those that compute.
  void sleeping_barrier();
  void broadcast(void* data, int64_t n_bytes, int root = 0);
  /// Broadcasts a string whose length only root knows.
  std::string broadcast_string(const std::string& text, int root = 0);
  /// Every rank's string, in rank order, on every rank.
  std::vector<std::string> all_gather_strings(const std::string& text);
  int64_t all_reduce_max(int64_t value);
  int64_t all_reduce_sum(int64_t value);
  /// Whether all ranks hold equal words, the same number on each; in one reduction.
  bool all_equal(std::span<const uint64_t> words);

  /// Element-wise sum over ranks, in place. Every rank ends with equal bits. kTree needs a power-of-two
  /// size; its sum over 2P ranks equals that over P ranks of pairwise pre-added data. Others: any size; bits
  /// may depend on the number of ranks and hosts.
  void all_reduce(std::span<float> values, Reduction reduction);
  void all_reduce(std::span<double> values, Reduction reduction);

  /// MPI_Allreduce itself, for sums that are exact in any order.
  void native_all_reduce(std::span<float> values);
  void native_all_reduce(std::span<double> values);
  void native_all_reduce(std::span<int64_t> values);

  /// A pointer to the MPI_Comm behind (an MPI_Comm*), for comm and io only, who read it by
  /// mpi_comm(communicator) of comm/mpi_check.h.
  void* native_handle() const;

 private:
  struct Impl;
  explicit Communicator(std::unique_ptr<Impl> impl);
  void count_ranks_of_host();
  RankReduction& reduction();
  std::unique_ptr<Impl> impl_;
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
};

/// Rank and world size as the launcher's environment gives them (Open MPI, PMIx, Slurm),
/// before or without MPI; 0 and 1 where there is no launcher.
int launcher_rank();
int launcher_size();
/// The rank's number among those of its host.
int launcher_local_rank();
std::string host_name();

/// The MPI library by its own words, such as "Open MPI v4.1.4".
std::string mpi_library_version();

}  // namespace lockstep
