// The global order of samples: a stateless permutation of (seed, epoch). No rank enters the
// formula and any position is found in O(1), so resuming in the middle of an epoch is exact.
#pragma once

#include <cstdint>

namespace lockstep {

class Sampler {
 public:
  /// n_samples >= 1. Without shuffle the order is 0, 1, 2 …
  Sampler(int64_t n_samples, uint64_t seed, bool shuffle);

  /// The dataset row at `position` in [0, n_samples) of `epoch`: a Feistel network over the
  /// smallest even-bit domain >= n_samples with cycle walking, keyed by (seed, epoch).
  int64_t sample_at(int64_t epoch, int64_t position) const;
  int64_t n_samples() const { return n_samples_; }

 private:
  int64_t n_samples_;
  uint64_t seed_;
  bool shuffle_;
  int half_bits_;
};

}  // namespace lockstep
