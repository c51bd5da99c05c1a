// What the forward and the backward loops of pooling share: where windows lie, and lanes.
// Lanes are neighbouring outputs that one vector instruction computes: channels of a block
// where inner > 1, else outputs of one row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/pool2d_loops.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

/// The part of a window inside the image: kernel rows [i0, i1) and columns [j0, j1).
struct Window {
  int64_t y, x;  // image position of the kernel's (0, 0); negative in the padding
  int64_t i0, i1, j0, j1;
};

LOCKSTEP_INLINE Window window_at(const PoolShape& s, int64_t p, int64_t q) {
  if (s.adaptive) {
    const int64_t y = p * s.height / s.rows, x = q * s.width / s.columns;
    return {y, x,
            0, ((p + 1) * s.height + s.rows - 1) / s.rows - y,
            0, ((q + 1) * s.width + s.columns - 1) / s.columns - x};
  }
  const int64_t y = p * s.stride_h - s.top, x = q * s.stride_w - s.left;
  return {y,
          x,
          std::max<int64_t>(-y, 0),
          std::min(s.kernel_h, s.height - y),
          std::max<int64_t>(-x, 0),
          std::min(s.kernel_w, s.width - x)};
}

/// What a window's sum is divided by. With count_padding a window counts as far as the padding goes.
LOCKSTEP_INLINE float divisor(const PoolShape& s, const Window& w) {
  int64_t i0 = w.i0, i1 = w.i1, j0 = w.j0, j1 = w.j1;
  if (s.count_padding) {
    i0 = j0 = 0;
    i1 = std::min(s.kernel_h, s.height + s.bottom - w.y);
    j1 = std::min(s.kernel_w, s.width + s.right - w.x);
  }
  const bool whole = i1 - i0 == s.kernel_h && j1 - j0 == s.kernel_w;
  if (!s.weights) return static_cast<float>((i1 - i0) * (j1 - j0));
  if (!s.normalize) return 1.0f;
  if (whole) return s.weight_sum;
  float sum = 0.0f;
  for (int64_t i = i0; i < i1; ++i)
    for (int64_t j = j0; j < j1; ++j) sum += s.weights[i * s.kernel_w + j];
  return sum;
}

/// Outputs [begin, end) of a row whose windows are inside horizontally.
struct Interior {
  int64_t begin, end;
};
LOCKSTEP_INLINE Interior interior(const PoolShape& s) {
  if (s.adaptive) return {0, 0};
  const int64_t begin = std::min(s.columns, (s.left + s.stride_w - 1) / s.stride_w);
  const int64_t room = s.width - s.kernel_w + s.left;  // last start that fits, counted from the padding
  const int64_t end = room < 0 ? 0 : room / s.stride_w + 1;
  return {begin, std::clamp(end, begin, s.columns)};
}

/// Windows of 2 x 2 that tile the plane from its corner; an odd last row or column is outside.
LOCKSTEP_INLINE bool tiles_by_two(const PoolShape& s) {
  return s.inner == 1 && !s.weights && !s.adaptive && s.kernel_h == 2 && s.kernel_w == 2 && s.stride_h == 2 &&
         s.stride_w == 2 && s.top == 0 && s.left == 0 && s.rows == s.height / 2 && s.columns == s.width / 2;
}

template <int kValue>
using Constant = std::integral_constant<int, kValue>;
using One = Constant<1>;

/// Calls f(q, lanes) over [begin, end): as many lanes as fit, the last group moved back.
template <typename F>
LOCKSTEP_INLINE void in_lanes(int64_t begin, int64_t end, const F& f) {
  const auto groups = [&](auto lanes) LOCKSTEP_INLINE_LAMBDA {
    for (int64_t q = begin; q < end; q += lanes()) f(std::min<int64_t>(q, end - lanes()), lanes);
  };
  const int64_t n = end - begin;
  if (n >= 8)
    groups(Constant<8>());
  else if (n >= 4)
    groups(Constant<4>());
  else
    groups(One());
}

}  // namespace lockstep::cpu
