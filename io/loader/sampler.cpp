// See permutation.h for the permutation of all samples. With a window two kinds of permutations work
// together: one of the blocks, and one inside each window. All windows hold equally many samples but for two:
// the last one, and the one that got the dataset's last block, which may be shorter. The inverse of the
// blocks' permutation tells where that is, so that every position's window is known without walking there.
//
// The order is part of what a run reproduces: any change here changes every trained weight.
#include "io/loader/sampler.h"

#include <algorithm>
#include <cassert>
#include <optional>

namespace lockstep {

namespace {

constexpr uint64_t kOfBlocks = ~uint64_t{0};  // other numbers are those of windows

}  // namespace

Sampler::Sampler(int64_t n_samples, uint64_t seed, Shuffle shuffle)
    : samples_(n_samples),
      blocks_((n_samples + shuffle.block - 1) / shuffle.block),
      seed_(seed),
      shuffle_(shuffle),
      window_blocks_(std::max<int64_t>(1, shuffle.window / shuffle.block)) {}

void Sampler::samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const {
  assert(epoch >= 0 && first >= 0 && count >= 0 && first + count <= n_samples());
  if (!shuffle_.is_on) {
    for (int64_t i = 0; i < count; ++i) ids[i] = first + i;
  } else if (shuffle_.window > 0) {
    windowed(epoch, first, count, ids);
  } else {
    const Permutation::Keys keys = samples_.keys(seed_, epoch);
    for (int64_t i = 0; i < count; ++i) ids[i] = samples_.apply(keys, first + i);
  }
}

void Sampler::windowed(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const {
  const int64_t block = shuffle_.block, n_blocks = blocks_.n(), window_rows = window_blocks_ * block;
  const Permutation::Keys block_keys = blocks_.keys(derived_seed(seed_, kOfBlocks), epoch);
  // The dataset's last block, its place in the order of blocks, and what it lacks.
  const int64_t short_place = blocks_.invert(block_keys, n_blocks - 1);
  const int64_t short_rows = n_samples() - (n_blocks - 1) * block, lacking = block - short_rows;
  const int64_t short_window = short_place / window_blocks_;

  for (int64_t i = 0; i < count;) {
    const int64_t position = first + i;
    const bool is_behind = position >= (short_window + 1) * window_rows - lacking;
    const int64_t window = (is_behind ? position + lacking : position) / window_rows;
    const int64_t first_place = window * window_blocks_;
    const int64_t begin = window * window_rows - (is_behind ? lacking : 0);
    const int64_t n_here = std::min(window_blocks_, n_blocks - first_place);
    const int64_t n_rows = n_here * block - (window == short_window ? lacking : 0);
    const int64_t short_begin =  // in the window; behind its end where the short block is elsewhere
        window == short_window ? (short_place - first_place) * block : n_rows;
    const Permutation inside(n_rows);
    const Permutation::Keys keys = inside.keys(derived_seed(seed_, static_cast<uint64_t>(window)), epoch);
    for (; i < count && first + i < begin + n_rows; ++i) {
      int64_t at = inside.apply(keys, first + i - begin);
      if (at >= short_begin + short_rows) at += lacking;  // as if all blocks were whole
      ids[i] = blocks_.apply(block_keys, first_place + at / block) * block + at % block;
    }
  }
}

int64_t Sampler::sample_at(int64_t epoch, int64_t position) const {
  int64_t id;
  samples_at(epoch, position, 1, &id);
  return id;
}

}  // namespace lockstep
