// The order is part of what a run reproduces: any change here changes every trained weight.
#include "io/loader/batch_order.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "kernels/error.h"

namespace lockstep {

namespace {

// Numbers of derived seeds, apart from those of a sampler's windows and blocks.
constexpr uint64_t kOfBatches = uint64_t{1} << 62, kOfBuckets = kOfBatches + 1;

}  // namespace

int64_t BatchOrder::steps_per_epoch(Order order, int64_t n_samples, int64_t global_batch) {
  if (order != Order::kStreams) return (n_samples + global_batch - 1) / global_batch;
  if (n_samples < global_batch)
    throw Error("data loader",
                std::to_string(n_samples) + " samples are fewer than the " + std::to_string(global_batch) +
                    " rows of a step, each of which reads a stream of its own",
                "choose a smaller batch.global, or shorter windows");
  return n_samples / global_batch;
}

BatchOrder::BatchOrder(Order order, int64_t n_samples, int64_t global_batch, uint64_t seed, Shuffle shuffle,
                       const LengthBuckets& buckets, const BalancedOrder* balanced)
    : order_(order),
      n_samples_(n_samples),
      global_batch_(global_batch),
      steps_per_epoch_(steps_per_epoch(order, n_samples, global_batch)),
      seed_(seed),
      sampler_(n_samples, seed, shuffle),
      buckets_(&buckets),
      balanced_(balanced) {
  assert(order != Order::kBalanced || balanced != nullptr);
  if (order != Order::kByLength) return;
  for (int bucket = 0; bucket < buckets.n_buckets(); ++bucket)
    within_.emplace_back(std::max<int64_t>(1, buckets.begin(bucket + 1) - buckets.begin(bucket)));
}

int64_t BatchOrder::samples_in_step(int64_t step) const {
  assert(step >= 0 && step < steps_per_epoch_);
  if (order_ == Order::kStreams) return global_batch_;
  return std::min(global_batch_, n_samples_ - step * global_batch_);
}

void BatchOrder::samples_at(int64_t epoch, int64_t step, int64_t first, int64_t count, int64_t* ids) const {
  assert(first >= 0 && count >= 0 && first + count <= samples_in_step(step));
  switch (order_) {
    case Order::kShuffled: return sampler_.samples_at(epoch, step * global_batch_ + first, count, ids);
    case Order::kStreams:
      for (int64_t i = 0; i < count; ++i) ids[i] = (first + i) * steps_per_epoch_ + step;
      return;
    case Order::kBalanced: return balanced_->samples_at(epoch, step * global_batch_ + first, count, ids);
    case Order::kByLength: return by_length(epoch, step, first, count, ids);
  }
}

void BatchOrder::by_length(int64_t epoch, int64_t step, int64_t first, int64_t count, int64_t* ids) const {
  const int64_t n_full = n_samples_ / global_batch_;
  if (step < n_full) {
    const Permutation batches(n_full);
    step = batches.apply(batches.keys(derived_seed(seed_, kOfBatches), epoch), step);
  }
  int bucket = -1;
  Permutation::Keys keys{};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t position = step * global_batch_ + first + i;
    if (bucket < 0 || position >= buckets_->begin(bucket + 1)) {
      while (bucket < 0 || position >= buckets_->begin(bucket + 1)) ++bucket;
      keys = within_[static_cast<size_t>(bucket)].keys(
          derived_seed(seed_, kOfBuckets + static_cast<uint64_t>(bucket)), epoch);
    }
    const int64_t begin = buckets_->begin(bucket);
    ids[i] = buckets_->row_at(begin + within_[static_cast<size_t>(bucket)].apply(keys, position - begin));
  }
}

}  // namespace lockstep
