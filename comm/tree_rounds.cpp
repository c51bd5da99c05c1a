// Order of additions as in tree_reduction.cpp: at distance d the ranks of a pair hold the sums of two
// neighbouring groups of d ranks. Guarded by tests/comm/tree_rounds_test.cpp, which walks the rounds of all
// ranks in one process.
#include "comm/tree_rounds.h"

#include <algorithm>

namespace lockstep {
namespace {

/// Short vectors: all of it at each distance.
std::vector<TreeStep> doubling_steps(int rank, int size, int64_t n) {
  std::vector<TreeStep> steps;
  for (int distance = 1; distance < size; distance *= 2) steps.push_back({rank ^ distance, 0, n, 0, n, 0});
  return steps;
}

/// One block at [begin, end): halving with sums, then the summed halves travel back.
std::vector<TreeStep> halving_steps(int rank, int size, int64_t begin, int64_t end, int64_t alignment) {
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
  for (size_t s = steps.size(); s-- > 0;) {
    const TreeStep there = steps[s];
    steps.push_back({there.partner, there.receive, there.n_receive, there.send, there.n_send, -1});
  }
  return steps;
}

}  // namespace

std::vector<TreeRound> tree_rounds(int rank, int size, int64_t n_elements, const RoundTuning& tuning) {
  if (size == 1 || n_elements == 0) return {};
  std::vector<std::vector<TreeStep>> blocks;
  if (n_elements <= tuning.n_doubling) {
    blocks.push_back(doubling_steps(rank, size, n_elements));
  } else {
    const int64_t n_block = (tuning.n_block + tuning.alignment - 1) / tuning.alignment * tuning.alignment;
    for (int64_t begin = 0; begin < n_elements; begin += n_block)
      blocks.push_back(
          halving_steps(rank, size, begin, std::min(n_elements, begin + n_block), tuning.alignment));
  }
  const size_t n_steps = blocks[0].size();
  std::vector<TreeRound> rounds(n_steps + blocks.size() - 1);
  for (size_t b = 0; b < blocks.size(); ++b)
    for (size_t s = 0; s < n_steps; ++s) rounds[b + s].push_back(blocks[b][s]);
  return rounds;
}

int64_t scratch_elements(const std::vector<TreeRound>& rounds) {
  int64_t n = 0;
  for (const TreeRound& round : rounds)
    for (const TreeStep& step : round)
      if (step.scratch >= 0) n = std::max(n, step.scratch + step.n_receive);
  return n;
}

}  // namespace lockstep
