// All-reduce among the ranks of one host through shared memory, in the order of the tree of tree_sum.h.
//
// Every block of a vector is cut into slices, one per owner. The owner adds its slice of all ranks in one
// pass over memory and the others copy the sum: no message, and each addition happens once. Vectors in
// ordinary memory travel through small staging buffers that stay in cache; vectors in segments given
// to share() are read and written in place by the owners. Neither changes a bit.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "comm/communicator.h"
#include "comm/element_range.h"
#include "comm/patience.h"
#include "comm/reduction/shared_segments.h"

namespace lockstep {

/// Where HostReduction changes its way; no value changes a bit of the result.
struct HostTuning {
  int64_t block_bytes = 256 << 10;  // of a staging buffer; a rank has four
  int64_t slice_bytes = 16 << 10;   // many ranks make blocks longer, to keep their slices this long
  int64_t stream_bytes = 16 << 20;  // vectors from here on are staged past the caches
  int64_t whole_bytes = 16 << 10;   // up to here every rank adds the whole vector by itself
};

class HostReduction {
 public:
  /// What continues the sum of a slice over other hosts, on its owner; empty where this host has all ranks.
  template <typename T>
  using Across = std::function<void(T* values, int64_t n_elements)>;

  /// Collective over `host`, whose ranks share a machine. Ranks below n_owners own slices. Null on all
  /// ranks where they cannot share memory.
  /// wire: of float vectors; with bfloat16 each sum is rounded, in memory they stay float32.
  static std::unique_ptr<HostReduction> make(MPI_Comm host, int n_owners, const HostTuning& tuning = {},
                                             Wire wire = Wire::kFloat32);
  ~HostReduction();

  /// From now on vectors inside this rank's segment are summed in place; they must lie at equal offsets on
  /// all ranks. `arena` is made over the same `host` and outlives the calls.
  void share(const SharedSegments& arena);

  /// Collective. Sums `values` over the ranks, in place. Throws Error on every rank of the host if they
  /// disagree about the vector. T: float or double.
  template <typename T>
  void all_reduce(T* values, int64_t n_elements, const Across<T>& across, const Patience& patience);

  /// Collective, for vectors in a segment given to share(). Rank k ends with the sum in part_of(n_elements,
  /// k, owners) alone; what the rest holds then is not defined.
  void reduce_scatter(float* values, int64_t n_elements, const Patience& patience);
  /// Collective, for any memory. Every rank gets part_of(n_elements, k, owners) from rank k.
  void all_gather(float* values, int64_t n_elements, const Patience& patience);

 private:
  struct Impl;
  explicit HostReduction(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
