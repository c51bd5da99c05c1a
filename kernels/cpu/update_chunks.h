// How an update on the CPU goes over its ranges.
#pragma once

#include <algorithm>

#include "kernels/update_ranges.h"

namespace lockstep::cpu {

/// Calls f(chunk) for chunks of the ranges, spread over the threads. Elements are independent: the cut
/// changes no bits.
template <typename F>
void in_chunks(const UpdateRanges& ranges, const F& f) {
  constexpr int64_t kChunk = 1 << 14;
  for (const UpdateRange& range : ranges.list()) {
    const int64_t n = range.end - range.begin;
#pragma omp parallel for schedule(static) if (n > 2 * kChunk)
    for (int64_t start = 0; start < n; start += kChunk)
      f(UpdateChunk{range.begin + start, range.state + start,
                    static_cast<int32_t>(std::min(kChunk, n - start)), range.factor});
  }
}

}  // namespace lockstep::cpu
