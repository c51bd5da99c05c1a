// DataLoader: global order -> this rank's micro-batches, prefetched by reader threads.
//
// Step s of an epoch holds G samples of the order (batch_order.h; G global batch, M micro-batch, V = G/M);
// micro-batch m of it holds M of them, and this rank runs m in [first_micro, first_micro + n_micro). The last
// step of an epoch may hold fewer than G samples: its trailing rows are padding (zeros), counted by n_valid.
// The loader waits for no other rank, and the trainer does not wait for it while it keeps up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/loader/batch_order.h"
#include "io/loader/length_buckets.h"
#include "io/loader/loader_field.h"
#include "io/loader/sampler.h"
#include "kernels/device.h"

namespace lockstep {

struct LoaderOptions {
  std::vector<LoaderField> fields;
  int64_t global_batch = 1, micro_batch = 1;
  int64_t first_micro = 0, n_micro = 1;
  uint64_t seed = 0;
  Order order = Order::kShuffled;
  Shuffle shuffle;          // of kShuffled
  std::string class_field;  // of kBalanced: the dataset's labels
  /// That read, decode and convert; each fills micro-batches of its own. 0: one on the CPU, where the cores
  /// compute; up to four beside a GPU, as many as the process may use.
  int threads = 1;
  int64_t prefetch = 4;  // micro-batches held ready at first
  /// That grows by one when next() had to wait although the readers had been ahead before, as long as all
  /// micro-batches together take no more than these bytes. 0: it never grows.
  int64_t prefetch_limit_bytes = 0;
  /// What micro-batches are copied to. Of a GPU: they lie in page-locked memory, so that these copies
  /// run beside the host's work.
  Device device;
  /// Datasets up to this many bytes (of the fields used, as stored) are kept in memory, filled as blocks are
  /// first touched.
  int64_t cache_limit_bytes = int64_t{1} << 30;
  /// The ranks that make a loader of the same dataset together: those of a host share one copy of it, and the
  /// limit holds for the host. The constructor is collective then. Null: this process by itself.
  Communicator* ranks = nullptr;
};

struct MicroBatch {
  int64_t epoch = 0, step_in_epoch = 0, micro = 0;  // micro: global index in [0, V)
  int64_t n_valid = 0;                              // rows [n_valid, M) are zeros; of ragged fields padding
  int bucket = 0;                                   // of lengths: the largest of the valid rows, else 0
  std::vector<int64_t> sample_ids;                  // (M); -1 for padding
  /// One array per field, page-aligned: (M, shape…), (M) of lengths, or of a ragged field (M, L, shape…) with
  /// L = DataLoader::buckets().extents()[bucket][field].
  std::vector<void*> data;
};

/// Steps of an epoch: ceil(n_samples / G); of streams floor(n_samples / G), as only full steps do there.
/// Throws Error where streams have fewer samples than a step has rows.
int64_t steps_per_epoch(const LoaderOptions& options, const Dataset& dataset);

class DataLoader {
 public:
  /// Starts reading at `start_step` (global: steps_per_epoch * epoch + step in epoch).
  /// `dataset` must outlive the loader; options.ranks need not. Collective where they are given.
  DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step);
  ~DataLoader();

  int64_t steps_per_epoch() const;
  /// Samples of a step: G, or what is left for the last one.
  int64_t samples_in_step(int64_t step_in_epoch) const;
  /// The lengths that ragged fields are padded to: the same as LengthBuckets(dataset, fields, by length)
  /// gives.
  const LengthBuckets& buckets() const;

  /// The next micro-batch of this rank, in order, epochs without end. Valid until the next
  /// call, which is to wait until copies of it are done. Rethrows errors of the reader threads.
  /// Allocates nothing.
  const MicroBatch& next();
  /// Seconds that next() has waited for data since construction.
  double wait_s() const;
  /// Micro-batches held ready by now.
  int64_t prefetch() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
