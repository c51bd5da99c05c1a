// Lanes are neighbouring outputs that one vector instruction computes: channels of a block
// where inner > 1, else outputs of one row (kStride is then the distance of their windows).
// A row that is no multiple of the lanes computes its last outputs twice, with equal results.
// Windows are walked in row-major order, which fixes the first maximum and the order of sums.
#include "kernels/cpu/pool2d_loops.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/vectorize.h"

namespace lockstep::cpu {

namespace {

/// The part of a window inside the image: kernel rows [i0, i1) and columns [j0, j1).
struct Window {
  int64_t y, x;  // image position of the kernel's (0, 0); negative in the padding
  int64_t i0, i1, j0, j1;
};

LOCKSTEP_INLINE Window window_at(const PoolShape& s, int64_t p, int64_t q) {
  const int64_t y = p * s.stride_h - s.top, x = q * s.stride_w - s.left;
  return {y,
          x,
          std::max<int64_t>(-y, 0),
          std::min(s.kernel_h, s.height - y),
          std::max<int64_t>(-x, 0),
          std::min(s.kernel_w, s.width - x)};
}

/// Outputs [begin, end) of a row whose windows are inside horizontally.
struct Interior {
  int64_t begin, end;
};
LOCKSTEP_INLINE Interior interior(const PoolShape& s) {
  const int64_t begin = std::min(s.columns, (s.left + s.stride_w - 1) / s.stride_w);
  const int64_t room = s.width - s.kernel_w + s.left;  // last start that fits, counted from the padding
  const int64_t end = room < 0 ? 0 : room / s.stride_w + 1;
  return {begin, std::clamp(end, begin, s.columns)};
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
  if (n >= 16)
    groups(Constant<16>());
  else if (n >= 8)
    groups(Constant<8>());
  else if (n >= 4)
    groups(Constant<4>());
  else
    groups(One());
}

/// `kLanes` maxima, kStride elements apart; src: position (0, 0) of the first window.
template <int kLanes, int kStride, typename Place>
LOCKSTEP_INLINE void max_lanes(const PoolShape& s, const Window& w, const float* src, float* dst,
                               Place* places) {
  float best[kLanes];
  int32_t place[kLanes];
  const float* first = src + (w.i0 * s.width + w.j0) * s.inner;
  for (int l = 0; l < kLanes; ++l) {
    best[l] = first[l * kStride];
    place[l] = static_cast<int32_t>(w.i0 * s.kernel_w + w.j0);
  }
  for (int64_t i = w.i0; i < w.i1; ++i)
    for (int64_t j = w.j0; j < w.j1; ++j) {
      const float* at = src + (i * s.width + j) * s.inner;
      const int32_t here = static_cast<int32_t>(i * s.kernel_w + j);
      for (int l = 0; l < kLanes; ++l) {
        const float value = at[l * kStride];
        const bool better =
            (value > best[l]) | (value != value);  // the first of equals stays; NaN is passed on
        best[l] = better ? value : best[l];
        place[l] = better ? here : place[l];
      }
    }
  for (int l = 0; l < kLanes; ++l) dst[l] = best[l];
  if (places)
    for (int l = 0; l < kLanes; ++l) places[l] = static_cast<Place>(place[l]);
}

LOCKSTEP_INLINE float n_averaged(const PoolShape& s, const Window& w) {
  return static_cast<float>(s.count_padding ? s.kernel_h * s.kernel_w : (w.i1 - w.i0) * (w.j1 - w.j0));
}

template <int kLanes, int kStride>
LOCKSTEP_INLINE void average_lanes(const PoolShape& s, const Window& w, const float* src, float* dst) {
  float sum[kLanes] = {};
  for (int64_t i = w.i0; i < w.i1; ++i)
    for (int64_t j = w.j0; j < w.j1; ++j) {
      const float* at = src + (i * s.width + j) * s.inner;
      for (int l = 0; l < kLanes; ++l) sum[l] += at[l * kStride];
    }
  const float count = n_averaged(s, w);
  for (int l = 0; l < kLanes; ++l) dst[l] = sum[l] / count;
}

/// Calls f(window, offset in the src plane of the window's (0, 0), offset in the dst plane,
/// lanes, stride) so that every output of a plane is covered.
template <typename F>
LOCKSTEP_INLINE void for_each_output(const PoolShape& s, const F& f) {
  const Interior inside = interior(s);
  for (int64_t p = 0; p < s.rows; ++p) {
    const auto at = [&](int64_t q, int64_t lane, auto lanes, auto stride) LOCKSTEP_INLINE_LAMBDA {
      const Window w = window_at(s, p, q);
      f(w, (w.y * s.width + w.x) * s.inner + lane, (p * s.columns + q) * s.inner + lane, lanes, stride);
    };
    if (s.inner > 1) {
      for (int64_t q = 0; q < s.columns; ++q)
        in_lanes(0, s.inner,
                 [&](int64_t lane, auto lanes) LOCKSTEP_INLINE_LAMBDA { at(q, lane, lanes, One()); });
      continue;
    }
    for (int64_t q = 0; q < inside.begin; ++q) at(q, 0, One(), One());
    if (s.stride_w == 1)
      in_lanes(inside.begin, inside.end,
               [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA { at(q, 0, lanes, One()); });
    else if (s.stride_w == 2)
      in_lanes(inside.begin, inside.end,
               [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA { at(q, 0, lanes, Constant<2>()); });
    else
      for (int64_t q = inside.begin; q < inside.end; ++q) at(q, 0, One(), One());
    for (int64_t q = inside.end; q < s.columns; ++q) at(q, 0, One(), One());
  }
}

LOCKSTEP_VECTORIZE void max_forward_u8(const PoolShape& s, const float* src, float* dst, uint8_t* places) {
  for_each_output(
      s, [&](const Window& w, int64_t from, int64_t to, auto lanes, auto stride) LOCKSTEP_INLINE_LAMBDA {
        max_lanes<lanes(), stride()>(s, w, src + from, dst + to, places ? places + to : nullptr);
      });
}
LOCKSTEP_VECTORIZE void max_forward_i32(const PoolShape& s, const float* src, float* dst, int32_t* places) {
  for_each_output(
      s, [&](const Window& w, int64_t from, int64_t to, auto lanes, auto stride) LOCKSTEP_INLINE_LAMBDA {
        max_lanes<lanes(), stride()>(s, w, src + from, dst + to, places ? places + to : nullptr);
      });
}
LOCKSTEP_VECTORIZE void average_forward(const PoolShape& s, const float* src, float* dst) {
  for_each_output(
      s, [&](const Window& w, int64_t from, int64_t to, auto lanes, auto stride)
             LOCKSTEP_INLINE_LAMBDA { average_lanes<lanes(), stride()>(s, w, src + from, dst + to); });
}

// Backward: diff_src of a plane is zeroed, then every output adds to its window, outputs in
// row-major order; windows that tile the plane two by two are written at once instead.

/// As in_lanes, but each lane once: for sums into memory.
template <typename F>
LOCKSTEP_INLINE void in_lanes_once(int64_t n, const F& f) {
  int64_t lane = 0;
  for (; lane + 16 <= n; lane += 16) f(lane, Constant<16>());
  for (; lane + 4 <= n; lane += 4) f(lane, Constant<4>());
  for (; lane < n; ++lane) f(lane, One());
}

/// Adds share(place, l) of kLanes outputs to the places of their windows.
template <int kLanes, typename Share>
LOCKSTEP_INLINE void add_to_window(const PoolShape& s, const Window& w, float* diff_src, const Share& share) {
  for (int64_t i = w.i0; i < w.i1; ++i)
    for (int64_t j = w.j0; j < w.j1; ++j) {
      float* at = diff_src + (i * s.width + j) * s.inner;
      const int32_t here = static_cast<int32_t>(i * s.kernel_w + j);
      for (int l = 0; l < kLanes; ++l) at[l] += share(here, l);
    }
}

bool tiles_by_two(const PoolShape& s) {
  return s.inner == 1 && s.kernel_h == 2 && s.kernel_w == 2 && s.stride_h == 2 && s.stride_w == 2 &&
         s.top == 0 && s.left == 0 && s.rows == s.height / 2 && s.columns == s.width / 2;
}

/// One row of 2 x 2 tiles: share(place, q) goes to place 0 … 3 of tile q.
template <typename Share>
LOCKSTEP_INLINE void write_tiles(const PoolShape& s, int64_t p, float* diff_src, const Share& share) {
  for (int32_t i = 0; i < 2; ++i) {
    float* row = diff_src + (2 * p + i) * s.width;
    in_lanes(0, s.columns, [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
      for (int l = 0; l < lanes(); ++l) {
        row[2 * (q + l)] = share(2 * i, q + l);
        row[2 * (q + l) + 1] = share(2 * i + 1, q + l);
      }
    });
    if (s.width % 2) row[s.width - 1] = 0.0f;
  }
  if (p == s.rows - 1 && s.height % 2) std::fill_n(diff_src + (s.height - 1) * s.width, s.width, 0.0f);
}

template <typename Place>
LOCKSTEP_INLINE void max_backward(const PoolShape& s, const float* diff_dst, const Place* places,
                                  float* diff_src) {
  if (tiles_by_two(s)) {
    for (int64_t p = 0; p < s.rows; ++p, diff_dst += s.columns, places += s.columns)
      write_tiles(s, p, diff_src, [&](int32_t place, int64_t q) LOCKSTEP_INLINE_LAMBDA {
        return static_cast<int32_t>(places[q]) == place ? diff_dst[q] : 0.0f;
      });
    return;
  }
  std::fill_n(diff_src, s.src_plane(), 0.0f);
  for (int64_t p = 0; p < s.rows; ++p)
    for (int64_t q = 0; q < s.columns; ++q, diff_dst += s.inner, places += s.inner) {
      const Window w = window_at(s, p, q);
      float* corner = diff_src + (w.y * s.width + w.x) * s.inner;
      if (s.inner == 1) {
        const uint32_t place = static_cast<uint32_t>(*places), kernel_w = static_cast<uint32_t>(s.kernel_w);
        corner[place / kernel_w * s.width + place % kernel_w] += *diff_dst;
        continue;
      }
      in_lanes_once(s.inner, [&](int64_t lane, auto lanes) LOCKSTEP_INLINE_LAMBDA {
        add_to_window<lanes()>(s, w, corner + lane, [&](int32_t place, int l) LOCKSTEP_INLINE_LAMBDA {
          return static_cast<int32_t>(places[lane + l]) == place ? diff_dst[lane + l] : 0.0f;
        });
      });
    }
}

LOCKSTEP_VECTORIZE void max_backward_u8(const PoolShape& s, const float* diff_dst, const uint8_t* places,
                                        float* diff_src) {
  max_backward(s, diff_dst, places, diff_src);
}
LOCKSTEP_VECTORIZE void max_backward_i32(const PoolShape& s, const float* diff_dst, const int32_t* places,
                                         float* diff_src) {
  max_backward(s, diff_dst, places, diff_src);
}

LOCKSTEP_VECTORIZE void average_backward(const PoolShape& s, const float* diff_dst, float* diff_src) {
  if (tiles_by_two(s)) {
    for (int64_t p = 0; p < s.rows; ++p, diff_dst += s.columns)
      write_tiles(s, p, diff_src,
                  [&](int32_t, int64_t q) LOCKSTEP_INLINE_LAMBDA { return diff_dst[q] / 4.0f; });
    return;
  }
  std::fill_n(diff_src, s.src_plane(), 0.0f);
  for (int64_t p = 0; p < s.rows; ++p)
    for (int64_t q = 0; q < s.columns; ++q, diff_dst += s.inner) {
      const Window w = window_at(s, p, q);
      float* corner = diff_src + (w.y * s.width + w.x) * s.inner;
      const float count = n_averaged(s, w);
      in_lanes_once(s.inner, [&](int64_t lane, auto lanes) LOCKSTEP_INLINE_LAMBDA {
        float share[lanes()];
        for (int l = 0; l < lanes(); ++l) share[l] = diff_dst[lane + l] / count;
        add_to_window<lanes()>(s, w, corner + lane,
                               [&](int32_t, int l) LOCKSTEP_INLINE_LAMBDA { return share[l]; });
      });
    }
}

}  // namespace

template <typename Place>
void max_pool_forward(const PoolShape& s, int64_t begin, int64_t end, const float* src, float* dst,
                      Place* places) {
  for (int64_t plane = begin; plane < end; ++plane) {
    const float* from = src + plane * s.src_plane();
    float* to = dst + plane * s.dst_plane();
    Place* kept = places ? places + plane * s.dst_plane() : nullptr;
    if constexpr (sizeof(Place) == 1)
      max_forward_u8(s, from, to, kept);
    else
      max_forward_i32(s, from, to, kept);
  }
}
template void max_pool_forward(const PoolShape&, int64_t, int64_t, const float*, float*, uint8_t*);
template void max_pool_forward(const PoolShape&, int64_t, int64_t, const float*, float*, int32_t*);

template <typename Place>
void max_pool_backward(const PoolShape& s, int64_t begin, int64_t end, const float* diff_dst,
                       const Place* places, float* diff_src) {
  for (int64_t plane = begin; plane < end; ++plane) {
    const float* from = diff_dst + plane * s.dst_plane();
    float* to = diff_src + plane * s.src_plane();
    const Place* kept = places + plane * s.dst_plane();
    if constexpr (sizeof(Place) == 1)
      max_backward_u8(s, from, kept, to);
    else
      max_backward_i32(s, from, kept, to);
  }
}
template void max_pool_backward(const PoolShape&, int64_t, int64_t, const float*, const uint8_t*, float*);
template void max_pool_backward(const PoolShape&, int64_t, int64_t, const float*, const int32_t*, float*);

void average_pool_forward(const PoolShape& s, int64_t begin, int64_t end, const float* src, float* dst) {
  for (int64_t plane = begin; plane < end; ++plane)
    average_forward(s, src + plane * s.src_plane(), dst + plane * s.dst_plane());
}

void average_pool_backward(const PoolShape& s, int64_t begin, int64_t end, const float* diff_dst,
                           float* diff_src) {
  for (int64_t plane = begin; plane < end; ++plane)
    average_backward(s, diff_dst + plane * s.dst_plane(), diff_src + plane * s.src_plane());
}

}  // namespace lockstep::cpu
