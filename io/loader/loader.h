// DataLoader: global order -> this rank's micro-batches, prefetched by reader threads.
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

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/loader/sampler.h"
#include "kernels/device.h"

namespace lockstep {

struct LoaderField {
  std::string name;               // field of the dataset
  DType dtype = DType::kFloat32;  // converted to: float32 (inputs), int64 (labels); uint8 stored so: as it is
  Shape shape;                    // of one sample; same element count as stored, or as the window
  /// Subtracted and divided per channel (first dimension of the stored sample) after
  /// conversion to float32; empty: as stored. Size 1 applies to all elements.
  std::vector<float> mean, stddev;
  /// int64 labels must lie in [0, n_classes) where n_classes > 0. Throws Error naming the
  /// dataset row and value.
  int64_t n_classes = 0;
  Shape window;  // (C, h, w): of samples (C, H, W) only the pixels in the middle; no dimensions: all
};

struct LoaderOptions {
  std::vector<LoaderField> fields;
  int64_t global_batch = 1, micro_batch = 1;
  int64_t first_micro = 0, n_micro = 1;
  uint64_t seed = 0;
  Shuffle shuffle;
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
  int64_t n_valid = 0;                              // rows [n_valid, M) are zeros
  std::vector<int64_t> sample_ids;                  // (M); -1 for padding
  std::vector<void*> data;                          // one (M, shape…) array per field, page-aligned
};

class DataLoader {
 public:
  /// Starts reading at `start_step` (global: steps_per_epoch * epoch + step in epoch).
  /// `dataset` must outlive the loader; options.ranks need not. Collective where they are given.
  DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step);
  ~DataLoader();

  int64_t steps_per_epoch() const;  // ceil(n_samples / G)

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
