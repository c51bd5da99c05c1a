// The parts of an arena that an update goes over. However many there are, a GPU takes them in one
// launch: the parts are cut into chunks, one per block of threads, and the table of chunks lies on the
// device.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace lockstep {

struct UpdateRange {
  int64_t begin = 0, end = 0;  // elements of gradients and weights
  int64_t state = 0;           // where the states of element `begin` are in theirs
  float factor = 1;            // what is a range's own: see the updates
};

/// Elements [begin, begin + n) of a range, n <= UpdateRanges::kChunk.
struct UpdateChunk {
  int64_t begin, state;
  int32_t n;
  float factor;
};

class UpdateRanges {
 public:
  static constexpr int64_t kChunk = 4096;
  /// No two ranges overlap, neither in the arena nor in the states.
  UpdateRanges(Device device, std::vector<UpdateRange> ranges);

  const std::vector<UpdateRange>& list() const { return list_; }
  /// GPU: the chunks, in memory of the device.
  const UpdateChunk* chunks() const { return table_.as<const UpdateChunk>(); }
  int64_t n_chunks() const { return table_.n_bytes() / int64_t{sizeof(UpdateChunk)}; }
  /// Whether all ranges and their states begin at multiples of 4 elements.
  bool is_aligned() const { return is_aligned_; }

 private:
  std::vector<UpdateRange> list_;
  Memory table_;
  bool is_aligned_ = true;
};

}  // namespace lockstep
