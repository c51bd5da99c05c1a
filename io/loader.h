// DataLoader: global order -> this rank's micro-batches, prefetched by a reader thread.
//
// Step s of an epoch covers positions [s*G, (s+1)*G) of the sampler's order (G global batch,
// M micro-batch, V = G/M); micro-batch m of it covers M of them, and this rank runs
// m in [first_micro, first_micro + n_micro). The last step of an epoch may hold fewer than
// G samples: its trailing rows are padding (zeros), counted by n_valid. The loader waits for
// no other rank, and the trainer does not wait for it while it keeps up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/dataset.h"
#include "io/sampler.h"
#include "kernels/device.h"

namespace lockstep {

struct LoaderField {
  std::string name;               // field of the dataset
  DType dtype = DType::kFloat32;  // converted to: float32 (inputs) or int64 (labels)
  Shape shape;                    // of one sample; same element count as stored
  /// Subtracted and divided per channel (first dimension of the stored sample) after
  /// conversion to float32; empty: as stored. Size 1 applies to all elements.
  std::vector<float> mean, stddev;
  /// int64 labels must lie in [0, n_classes) where n_classes > 0. Throws Error naming the
  /// dataset row and value.
  int64_t n_classes = 0;
};

struct LoaderOptions {
  std::vector<LoaderField> fields;
  int64_t global_batch = 1, micro_batch = 1;
  int64_t first_micro = 0, n_micro = 1;
  uint64_t seed = 0;
  bool shuffle = true;
  int64_t prefetch = 4;  // micro-batches held ready
  /// What micro-batches are copied to. Of a GPU: they lie in page-locked memory, so that these copies
  /// run beside the host's work.
  Device device;
  /// Datasets up to this many bytes (of the fields used, as stored) are kept in memory, by each
  /// rank its own copy, filled as blocks are first touched.
  int64_t cache_limit_bytes = int64_t{1} << 30;
};

struct MicroBatch {
  int64_t epoch = 0, step_in_epoch = 0, micro = 0;  // micro: global index in [0, V)
  int64_t n_valid = 0;                              // rows [n_valid, M) are zeros
  std::vector<int64_t> sample_ids;                  // (M); -1 for padding
  std::vector<void*> data;                          // one (M, shape…) array per field, page-aligned
};

class DataLoader {
 public:
  /// Starts reading at `start_step` (global: steps_per_epoch * epoch + step in epoch).
  /// `dataset` must outlive the loader.
  DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step);
  ~DataLoader();

  int64_t steps_per_epoch() const;  // ceil(n_samples / G)

  /// The next micro-batch of this rank, in order, epochs without end. Valid until the next
  /// call, which is to wait until copies of it are done. Rethrows errors of the reader thread.
  /// Allocates nothing.
  const MicroBatch& next();
  /// Seconds that next() has waited for data since construction.
  double wait_s() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
