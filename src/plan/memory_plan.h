// Memory planning: buffers with lifetimes share one block, placed first-fit.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep {

/// A buffer alive from time `first` to time `last`, both inclusive.
struct BufferRequest {
  int64_t n_bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // bytes, multiples of 256
  int64_t n_bytes = 0;           // of the whole block
};

/// Places each buffer at the lowest offset where it overlaps no buffer alive at the same
/// time; larger buffers first. With reuse false every buffer has its own place: the results
/// of a plan must be bit-equal either way (the test that finds wrong lifetimes).
MemoryPlan plan_memory(const std::vector<BufferRequest>& requests, bool reuse);

}  // namespace lockstep
