// The global order of samples: a stateless permutation of (seed, epoch). No rank enters the
// formula and any position is found in O(1), so resuming in the middle of an epoch is exact.
#pragma once

#include <cstdint>

namespace lockstep {

class Sampler {
 public:
  /// n_samples in [1, 2^62]. Without shuffle the order is 0, 1, 2 …
  Sampler(int64_t n_samples, uint64_t seed, bool shuffle);

  /// The dataset row at `position` in [0, n_samples) of `epoch` >= 0: a Feistel network over
  /// the smallest near-square grid of >= n_samples cells, with cycle walking, keyed by (seed, epoch).
  int64_t sample_at(int64_t epoch, int64_t position) const;
  /// ids[i] = sample_at(epoch, first + i) for i in [0, count), a few times faster than one by one.
  void samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const;
  int64_t n_samples() const { return n_samples_; }

 private:
  int64_t n_samples_;
  uint64_t seed_;
  bool shuffle_;
  uint64_t n_rows_ = 1, n_columns_ = 1;  // of the grid
};

}  // namespace lockstep
