// The global order of samples: a stateless permutation of (seed, epoch). No rank enters the
// formula and any position is found in O(1), so resuming in the middle of an epoch is exact.
#pragma once

#include <cstdint>

#include "io/loader/permutation.h"

namespace lockstep {

/// How far an order mixes.
struct Shuffle {
  bool is_on = true;  // off: 0, 1, 2 …
  /// 0: any sample may follow any other. Else neighbours in the order come from few places: the dataset is
  /// cut into blocks of `block` successive samples, an epoch puts the blocks in random order, and samples are
  /// mixed among the `window` / `block` blocks that follow each other, one window after the other.
  int64_t window = 0;
  int64_t block = 1;  // in [1, window]
};

class Sampler {
 public:
  /// n_samples in [1, 2^62].
  Sampler(int64_t n_samples, uint64_t seed, Shuffle shuffle);

  /// The dataset row at `position` in [0, n_samples) of `epoch` >= 0.
  int64_t sample_at(int64_t epoch, int64_t position) const;
  /// ids[i] = sample_at(epoch, first + i) for i in [0, count), a few times faster than one by one.
  void samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const;
  int64_t n_samples() const { return samples_.n(); }

 private:
  void windowed(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const;

  Permutation samples_, blocks_;
  uint64_t seed_;
  Shuffle shuffle_;
  int64_t window_blocks_ = 1;
};

}  // namespace lockstep
