// A dataset of random numbers, for benchmarks of jobs that name no data: real files through
// the real loader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/dataset.h"

namespace lockstep {

/// Writes one shard `path` with "input" (n, shape) float32, uniform in [-1, 1), and "target":
/// (n, target_shape) int64 classes below n_classes, or float32 if n_classes is 0.
void write_synthetic_dataset(const std::string& path, const Shape& input, const Shape& target_shape,
                             int64_t n_classes, int64_t n_samples, uint64_t seed);

}  // namespace lockstep
