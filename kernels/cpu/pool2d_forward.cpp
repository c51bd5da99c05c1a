// Pooling, forward. Windows are walked in row-major order, which fixes the first maximum and
// the order of sums. A row that is no multiple of the lanes computes its last outputs twice,
// with equal results.
#include <limits>

#include "kernels/cpu/pool2d_lanes.h"

namespace lockstep::cpu {

namespace {

template <int kStride, typename V>
LOCKSTEP_INLINE void load_lanes(V& v, const float* from) {
  static_assert(kStride == 1 || kStride == 2);
  if constexpr (kStride == 1)
    load(v, from);
  else
    load_even(v, from);
}

/// How a window's result comes about, lane by lane: `best` and `place` are its state.
template <typename Place>
struct Maxima {
  float* dst;
  Place* places;  // may be null
  template <typename Floats, typename Ints>
  LOCKSTEP_INLINE static void start(Floats& best, Ints& place, int32_t first) {
    best = Floats{} - std::numeric_limits<float>::infinity();
    place = Ints{} + first;
  }
  template <typename Floats, typename Ints>
  LOCKSTEP_INLINE static void take(Floats& best, Ints& place, const Floats& value, int32_t here) {
    const auto better = (value > best) | (value != value);  // the first of equals stays; NaN is passed on
    best = better ? value : best;
    place = better ? Ints{} + here : place;
  }
  template <int kLanes>
  LOCKSTEP_INLINE void finish(const Vector<float, kLanes>& best, const Vector<int32_t, kLanes>& place, float,
                              int64_t output) const {
    store(best, dst + output);
    if (!places) return;
    Vector<Place, kLanes> kept;
    convert(place, kept);
    store(kept, places + output);
  }
};

/// The same for averages; they need no place.
struct Averages {
  float* dst;
  template <typename Floats, typename Ints>
  LOCKSTEP_INLINE static void start(Floats& sum, Ints& place, int32_t) {
    sum = Floats{};
    place = Ints{};
  }
  template <typename Floats, typename Ints>
  LOCKSTEP_INLINE static void take(Floats& sum, Ints&, const Floats& value, int32_t) {
    sum += value;
  }
  template <int kLanes>
  LOCKSTEP_INLINE void finish(const Vector<float, kLanes>& sum, const Vector<int32_t, kLanes>&, float count,
                              int64_t output) const {
    store(Vector<float, kLanes>(sum / count), dst + output);
  }
};

/// The same for sums with a weight for each place of the window.
struct WeightedSums : Averages {
  const float* weights;
  template <typename Floats, typename Ints>
  LOCKSTEP_INLINE void take(Floats& sum, Ints&, const Floats& value, int32_t here) const {
    sum += value * weights[here];
  }
};

/// One output and its lanes. Whole windows of kKernel x kKernel are straight code; kKernel 0: none.
template <int kKernel, int kLanes, int kStride, typename Sink>
LOCKSTEP_INLINE void pool_window(const PoolShape& s, const Sink& sink, const float* plane, int64_t p,
                                 int64_t q, int64_t lane) {
  const Window w = window_at(s, p, q);
  const float* src = plane + (w.y * s.width + w.x) * s.inner + lane;
  Vector<float, kLanes> result;
  Vector<int32_t, kLanes> place;
  sink.start(result, place, static_cast<int32_t>(w.i0 * s.kernel_w + w.j0));
  const auto take = [&](int64_t i, int64_t j) LOCKSTEP_INLINE_LAMBDA {
    Vector<float, kLanes> value;
    load_lanes<kStride>(value, src + (i * s.width + j) * s.inner);
    sink.take(result, place, value, static_cast<int32_t>(i * s.kernel_w + j));
  };
  if (kKernel > 0 && w.i1 - w.i0 == kKernel && w.j1 - w.j0 == kKernel) {
    for (int64_t i = 0; i < kKernel; ++i)
      for (int64_t j = 0; j < kKernel; ++j) take(i, j);
  } else {
    for (int64_t i = w.i0; i < w.i1; ++i)
      for (int64_t j = w.j0; j < w.j1; ++j) take(i, j);
  }
  sink.template finish<kLanes>(result, place, divisor(s, w), (p * s.columns + q) * s.inner + lane);
}

template <int kKernel, typename Sink>
LOCKSTEP_INLINE void pool_windows(const PoolShape& s, const Sink& sink, const float* plane) {
  const Interior inside = interior(s);
  for (int64_t p = 0; p < s.rows; ++p) {
    if (s.inner > 1) {
      for (int64_t q = 0; q < s.columns; ++q)
        in_lanes(0, s.inner, [&](int64_t lane, auto lanes) LOCKSTEP_INLINE_LAMBDA {
          pool_window<kKernel, lanes(), 1>(s, sink, plane, p, q, lane);
        });
      continue;
    }
    const auto one = [&](int64_t q)
                         LOCKSTEP_INLINE_LAMBDA { pool_window<kKernel, 1, 1>(s, sink, plane, p, q, 0); };
    for (int64_t q = 0; q < inside.begin; ++q) one(q);
    if (s.stride_w == 1)
      in_lanes(inside.begin, inside.end, [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
        pool_window<kKernel, lanes(), 1>(s, sink, plane, p, q, 0);
      });
    else if (s.stride_w == 2)
      in_lanes(inside.begin, inside.end, [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
        pool_window<kKernel, lanes(), 2>(s, sink, plane, p, q, 0);
      });
    else
      for (int64_t q = inside.begin; q < inside.end; ++q) one(q);
    for (int64_t q = inside.end; q < s.columns; ++q) one(q);
  }
}

template <typename Sink>
LOCKSTEP_INLINE void pool_tiles(const PoolShape& s, const Sink& sink, const float* src) {
  for (int64_t p = 0; p < s.rows; ++p, src += 2 * s.width) {
    in_lanes(0, s.columns, [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
      Vector<float, lanes()> value[4];
      load_interleaved(value[0], value[1], src + 2 * q);
      load_interleaved(value[2], value[3], src + s.width + 2 * q);
      Vector<float, lanes()> result;
      Vector<int32_t, lanes()> place;
      sink.start(result, place, 0);
      for (int32_t here = 0; here < 4; ++here) sink.take(result, place, value[here], here);
      sink.template finish<lanes()>(result, place, 4.0f, p * s.columns + q);
    });
  }
}

// Each copies the shape: stores through the pointers cannot change a copy, so that it stays in
// registers. Maxima of 2 x 2 and 3 x 3 have their own code; sums gain little from it.

LOCKSTEP_VECTORIZE void max_plane_u8(const PoolShape& shape, const float* src, float* dst, uint8_t* places) {
  PoolShape s = shape;
  const Maxima<uint8_t> sink{dst, places};
  if (tiles_by_two(s)) {
    pool_tiles(s, sink, src);
  } else if (s.kernel_h == 2 && s.kernel_w == 2) {
    s.kernel_h = s.kernel_w = 2;
    pool_windows<2>(s, sink, src);
  } else if (s.kernel_h == 3 && s.kernel_w == 3) {
    s.kernel_h = s.kernel_w = 3;
    pool_windows<3>(s, sink, src);
  } else {
    pool_windows<0>(s, sink, src);
  }
}

LOCKSTEP_VECTORIZE void max_plane_i32(const PoolShape& shape, const float* src, float* dst, int32_t* places) {
  const PoolShape s = shape;
  pool_windows<0>(s, Maxima<int32_t>{dst, places}, src);
}

/// The sum of a dense plane: 16 running sums, added as a tree.
LOCKSTEP_INLINE float plane_sum(int64_t n, const float* src) {
  constexpr int kSums = 16;
  float sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (int lane = 0; lane < kSums; ++lane) sums[lane] += src[i + lane];
  for (int lane = 0; i + lane < n; ++lane) sums[lane] += src[i + lane];
  for (int width = kSums / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  return sums[0];
}

LOCKSTEP_VECTORIZE void average_plane(const PoolShape& shape, const float* src, float* dst) {
  const PoolShape s = shape;
  if (s.weights) return pool_windows<0>(s, WeightedSums{{dst}, s.weights}, src);
  if (s.inner == 1 && s.rows * s.columns == 1) {
    const Window w = window_at(s, 0, 0);
    if (w.i1 - w.i0 == s.height && w.j1 - w.j0 == s.width) {
      *dst = plane_sum(s.src_plane(), src) / divisor(s, w);
      return;
    }
  }
  if (tiles_by_two(s)) return pool_tiles(s, Averages{dst}, src);
  pool_windows<0>(s, Averages{dst}, src);
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
      max_plane_u8(s, from, to, kept);
    else
      max_plane_i32(s, from, to, kept);
  }
}
template void max_pool_forward(const PoolShape&, int64_t, int64_t, const float*, float*, uint8_t*);
template void max_pool_forward(const PoolShape&, int64_t, int64_t, const float*, float*, int32_t*);

void average_pool_forward(const PoolShape& s, int64_t begin, int64_t end, const float* src, float* dst) {
  for (int64_t plane = begin; plane < end; ++plane)
    average_plane(s, src + plane * s.src_plane(), dst + plane * s.dst_plane());
}

}  // namespace lockstep::cpu
