// All-reduce whose additions form one fixed binary tree over rank indices:
// ((r0+r1)+(r2+r3))+((r4+r5)+(r6+r7)) for every element, on every rank, for every length.
//
// Recursive halving with partner distances 1, 2, 4 … (each pair sums half of what it still
// holds), then doubling back; Rabenseifner, "Optimization of collective reduction
// operations", ICCS 2004, with the distances in the order that gives neighbours first.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "comm/element_range.h"
#include "comm/patience.h"

namespace lockstep {

/// Where the algorithm changes its way; no value of these changes a bit of the result.
struct TreeTuning {
  int64_t doubling_bytes = 32 << 10;  // up to here whole vectors are exchanged: fewer messages
  int64_t block_bytes = 1 << 20;      // longer vectors go block by block, so that sums stay in cache
  int64_t shortest_bytes = 64 << 10;  // many ranks make blocks longer, to keep their messages this long
};

/// Throws Error naming the remedy unless `size` is a power of two.
void check_tree_size(int size);

/// Elements of scratch that tree_all_reduce needs for any vector of up to n_elements: never
/// more than n_elements, and for long vectors a block.
int64_t tree_scratch_elements(int64_t n_elements, int64_t element_bytes, int size, const TreeTuning& tuning);

/// Collective. Sums `values` over the ranks of `comm` (a power of two) in place.
/// `scratch`: tree_scratch_elements() of this rank's own. T: float or double. wire: of floats; as bfloat16
/// half the bytes travel, and every sum is rounded to it (values have to be such already).
template <typename T>
void tree_all_reduce(MPI_Comm comm, T* values, int64_t n_elements, T* scratch, const TreeTuning& tuning,
                     const Patience& patience, Wire wire = Wire::kFloat32);

/// The halves of it. Collective; after the first, this rank has the sums of tree_own_parts() only; the second
/// gives every rank all others' parts.
void tree_reduce_scatter(MPI_Comm comm, float* values, int64_t n_elements, float* scratch,
                         const TreeTuning& tuning, const Patience& patience, Wire wire = Wire::kFloat32);
void tree_all_gather(MPI_Comm comm, float* values, int64_t n_elements, const TreeTuning& tuning,
                     const Patience& patience);
/// Ascending; those of all ranks make up the vector.
std::vector<ElementRange> tree_own_parts(int rank, int size, int64_t n_elements, const TreeTuning& tuning);

}  // namespace lockstep
