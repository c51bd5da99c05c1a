// Datasets of random numbers, for benchmarks of jobs that name no data and of the ways to store data: real
// files through the real loader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"

namespace lockstep {

/// Writes one shard `path` with "input" (n, shape) float32, uniform in [-1, 1), and "target":
/// (n, target_shape) int64 classes below n_classes, or float32 if n_classes is 0.
void write_synthetic_dataset(const std::string& path, const Shape& input, const Shape& target_shape,
                             int64_t n_classes, int64_t n_samples, uint64_t seed);

/// The same of any fields: (n, shape) float32, or int64 below n_ids where that is above 0.
struct SyntheticField {
  std::string name;
  Shape shape;
  int64_t n_ids = 0;
};
void write_synthetic_dataset(const std::string& path, const std::vector<SyntheticField>& fields,
                             int64_t n_samples, uint64_t seed);

/// How HDF5 lays a dataset out: rows one after the other; the same without content, a sparse file that takes
/// no room; chunks of about 64 KiB, as they are or through shuffle and deflate (level 1).
enum class StoredLayout : uint8_t { kContiguous, kSparse, kChunked, kGzip };

/// Writes one shard `path` with "image" (n, shape) uint8, values below 64 that a compressor halves at best,
/// and "label" (n) int64 below 10. Throws Error.
void write_synthetic_images(const std::string& path, const Shape& image, int64_t n_samples,
                            StoredLayout layout);

}  // namespace lockstep
