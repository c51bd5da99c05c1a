// The fixed tree of tree_reduction.h as a list of exchanges, for libraries that are told beforehand what to
// send and what to receive. A pure function of rank, size and length: the plan is made once and walked each
// step.
//
// Recursive halving with partner distances 1, 2, 4 …, then doubling back. Long vectors are cut into blocks,
// and in each round every block is one exchange further than the next, so that a round uses several partners
// at once.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/element_range.h"

namespace lockstep {

/// Where a vector changes its way; no value of these changes a bit of the result. In elements.
struct RoundTuning {
  int64_t n_doubling = 64 << 10;  // up to here partners exchange all they have: half the rounds
  int64_t n_block = 4 << 20;      // longer vectors go as blocks, one round behind the other
  int64_t alignment = 64;         // pieces begin at multiples of it, for wide loads
};

/// One exchange with a partner. Offsets and counts in elements; a count of 0 means no message.
struct TreeStep {
  int partner = 0;
  int64_t send = 0, n_send = 0;        // of the vector
  int64_t receive = 0, n_receive = 0;  // of the vector
  int64_t scratch =
      -1;  // >= 0: receive there, then vector[receive …] += it, the lower rank's part on the left
};

/// Exchanges that touch different places, in the order in which both partners list them.
using TreeRound = std::vector<TreeStep>;

/// The whole, or one of its halves: up to where each rank has the sums of its parts, and from there.
enum class TreeWalk : uint8_t { kAllReduce, kReduceScatter, kAllGather };

/// What rank `rank` of `size` (a power of two) does to sum a vector of n_elements in place.
std::vector<TreeRound> tree_rounds(int rank, int size, int64_t n_elements, const RoundTuning& tuning,
                                   TreeWalk walk = TreeWalk::kAllReduce);

/// What the rank has summed after kReduceScatter: ascending; those of all ranks make up the vector.
std::vector<ElementRange> own_parts_of_rounds(int rank, int size, int64_t n_elements,
                                              const RoundTuning& tuning);

/// Elements of scratch that the rounds need.
int64_t scratch_elements(const std::vector<TreeRound>& rounds);

}  // namespace lockstep
