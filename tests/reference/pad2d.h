// Naive float64 padding of one axis after the other: a walk from the edge outwards, step by step, that
// turns round (reflect), stands still (replicate) or begins anew on the other side (circular).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/pad2d.h"

namespace lockstep::reference {

struct Pad2d {
  Pad2dDesc desc;
  std::vector<double> src;

  int64_t extent(int axis) const { return desc.src.shape[2 + axis]; }
  int64_t padded(int axis) const {
    return desc.padding[2 * axis] + extent(axis) + desc.padding[2 * axis + 1];
  }

  /// Where the pixel `steps` beyond the edge comes from; `low`: beyond the first, else beyond the last.
  int64_t beyond(int axis, int64_t steps, bool low) const {
    int64_t at = low ? 0 : extent(axis) - 1, direction = low ? 1 : -1;
    if (desc.mode == PaddingMode::kReplicate) return at;
    if (desc.mode == PaddingMode::kCircular) {
      at = low ? extent(axis) - 1 : 0;
      return low ? at - (steps - 1) : at + (steps - 1);
    }
    for (; steps > 0; --steps) at += direction;
    return at;
  }
  int64_t origin(int axis, int64_t place) const {
    const int64_t before = desc.padding[2 * axis];
    if (place < before) return beyond(axis, before - place, true);
    if (place >= before + extent(axis)) return beyond(axis, place - before - extent(axis) + 1, false);
    return place - before;
  }

  /// Calls visit(dst index, src index) for every element of dst.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    int64_t to = 0;
    for (int64_t plane = 0; plane < desc.src.shape[0] * desc.src.shape[1]; ++plane)
      for (int64_t p = 0; p < padded(0); ++p)
        for (int64_t q = 0; q < padded(1); ++q)
          visit(to++, (plane * extent(0) + origin(0, p)) * extent(1) + origin(1, q));
  }

  std::vector<double> forward() const {
    std::vector<double> dst;
    for_each([&](int64_t, int64_t from) { dst.push_back(src[from]); });
    return dst;
  }
  std::vector<double> backward(const std::vector<double>& diff_dst) const {
    std::vector<double> diff_src(src.size());
    for_each([&](int64_t to, int64_t from) { diff_src[from] += diff_dst[to]; });
    return diff_src;
  }
};

}  // namespace lockstep::reference
