// Order of additions as in tree_reduction.cpp: at distance d the ranks of a pair hold the sums of two
// neighbouring groups of d ranks. Guarded by tests/comm/tree_rounds_test.cpp, which walks the rounds of all
// ranks in one process.
#include "comm/reduction/tree_rounds.h"

#include <algorithm>

namespace lockstep {
namespace {

/// Short vectors: all of it at each distance.
std::vector<TreeStep> doubling_steps(int rank, int size, int64_t n) {
  std::vector<TreeStep> steps;
  for (int distance = 1; distance < size; distance *= 2) steps.push_back({rank ^ distance, 0, n, 0, n, 0});
  return steps;
}

/// One block at [begin, end), which ends as what the rank has summed: halving with sums.
std::vector<TreeStep> halving_steps(int rank, int size, int64_t& begin, int64_t& end, int64_t alignment) {
  std::vector<TreeStep> steps;
  int64_t scratch = 0;  // each distance has its own: blocks are at all of them at once
  for (int distance = 1; distance < size; distance *= 2) {
    const int partner = rank ^ distance;
    const int64_t half = (end - begin + 2 * alignment - 1) / (2 * alignment) * alignment;
    const int64_t middle = std::min(end, begin + half);
    TreeStep step;
    if (rank < partner) {
      step = {partner, middle, end - middle, begin, middle - begin, scratch};
      end = middle;
    } else {
      step = {partner, begin, middle - begin, middle, end - middle, scratch};
      begin = middle;
    }
    scratch += half;
    steps.push_back(step);
  }
  return steps;
}

/// The way back: the summed halves travel to those who gave theirs.
std::vector<TreeStep> way_back(const std::vector<TreeStep>& there) {
  std::vector<TreeStep> steps;
  for (size_t s = there.size(); s-- > 0;)
    steps.push_back(
        {there[s].partner, there[s].receive, there[s].n_receive, there[s].send, there[s].n_send, -1});
  return steps;
}

std::vector<TreeStep> block_steps(int rank, int size, int64_t begin, int64_t end, int64_t alignment,
                                  TreeWalk walk) {
  std::vector<TreeStep> steps = halving_steps(rank, size, begin, end, alignment);
  const std::vector<TreeStep> back = way_back(steps);
  if (walk == TreeWalk::kAllGather) return back;
  if (walk == TreeWalk::kAllReduce) steps.insert(steps.end(), back.begin(), back.end());
  return steps;
}

int64_t block_length(const RoundTuning& tuning) {
  return (tuning.n_block + tuning.alignment - 1) / tuning.alignment * tuning.alignment;
}

}  // namespace

std::vector<TreeRound> tree_rounds(int rank, int size, int64_t n_elements, const RoundTuning& tuning,
                                   TreeWalk walk) {
  if (size == 1 || n_elements == 0) return {};
  std::vector<std::vector<TreeStep>> blocks;
  if (walk == TreeWalk::kAllReduce && n_elements <= tuning.n_doubling) {
    blocks.push_back(doubling_steps(rank, size, n_elements));
  } else {
    const int64_t n_block = block_length(tuning);
    for (int64_t begin = 0; begin < n_elements; begin += n_block)
      blocks.push_back(
          block_steps(rank, size, begin, std::min(n_elements, begin + n_block), tuning.alignment, walk));
  }
  const size_t n_steps = blocks[0].size();
  std::vector<TreeRound> rounds(n_steps + blocks.size() - 1);
  for (size_t b = 0; b < blocks.size(); ++b)
    for (size_t s = 0; s < n_steps; ++s) rounds[b + s].push_back(blocks[b][s]);
  return rounds;
}

std::vector<ElementRange> own_parts_of_rounds(int rank, int size, int64_t n_elements,
                                              const RoundTuning& tuning) {
  std::vector<ElementRange> parts;
  const int64_t n_block = block_length(tuning);
  for (int64_t first = 0; first < n_elements; first += n_block) {
    int64_t begin = first, end = std::min(n_elements, first + n_block);
    halving_steps(rank, size, begin, end, tuning.alignment);
    if (end > begin) parts.push_back({begin, end});
  }
  return parts;
}

int64_t scratch_elements(const std::vector<TreeRound>& rounds) {
  int64_t n = 0;
  for (const TreeRound& round : rounds)
    for (const TreeStep& step : round)
      if (step.scratch >= 0) n = std::max(n, step.scratch + step.n_receive);
  return n;
}

}  // namespace lockstep
