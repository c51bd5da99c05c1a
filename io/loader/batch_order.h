// Which samples a step holds: a function of (seed, epoch, step) alone. No rank enters it, and any step is
// found in O(1), so resuming in the middle of an epoch is exact.
#pragma once

#include <cstdint>
#include <vector>

#include "io/loader/balanced_order.h"
#include "io/loader/length_buckets.h"
#include "io/loader/sampler.h"

namespace lockstep {

enum class Order : uint8_t {
  kShuffled,  // the samples at positions [s * G, (s + 1) * G) of a Sampler
  kStreams,   // row r of the global batch reads its own run of L = floor(n / G) samples: r * L + s at step s
  kByLength,  // samples of like length together: permuted within their bucket and cut into batches, of which
              // the full ones come in a permuted order and the last one, which is not full, comes last
  kBalanced   // the samples at positions [s * G, (s + 1) * G) of a BalancedOrder
};

class BatchOrder {
 public:
  /// `buckets`: of kByLength, grouped; `balanced`: of kBalanced, else null; must outlive the order. Throws
  /// Error where kStreams has fewer samples than a step has rows.
  BatchOrder(Order order, int64_t n_samples, int64_t global_batch, uint64_t seed, Shuffle shuffle,
             const LengthBuckets& buckets, const BalancedOrder* balanced = nullptr);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  /// In [1, G].
  int64_t samples_in_step(int64_t step) const;
  /// ids[i] = the dataset's row that row first + i of the step's global batch holds, for i in [0, count);
  /// first + count <= samples_in_step(step).
  void samples_at(int64_t epoch, int64_t step, int64_t first, int64_t count, int64_t* ids) const;

  /// Throws Error as the constructor does.
  static int64_t steps_per_epoch(Order order, int64_t n_samples, int64_t global_batch);

 private:
  void by_length(int64_t epoch, int64_t step, int64_t first, int64_t count, int64_t* ids) const;

  Order order_;
  int64_t n_samples_, global_batch_, steps_per_epoch_;
  uint64_t seed_;
  Sampler sampler_;
  const LengthBuckets* buckets_;
  const BalancedOrder* balanced_;
  std::vector<Permutation> within_;  // one per bucket
};

}  // namespace lockstep
