// Pooling, backward: diff_src of a plane is zeroed, then every output adds to its window, outputs in
// row-major order, or in a dense plane row by row and within one place by place of the window;
// windows that tile the plane two by two are written at once.
#include "kernels/cpu/pool2d_lanes.h"

namespace lockstep::cpu {

namespace {

/// As in_lanes, but each lane once: for sums into memory.
template <typename F>
LOCKSTEP_INLINE void in_lanes_once(int64_t n, const F& f) {
  int64_t lane = 0;
  for (; lane + 8 <= n; lane += 8) f(lane, Constant<8>());
  for (; lane + 4 <= n; lane += 4) f(lane, Constant<4>());
  for (; lane < n; ++lane) f(lane, One());
}

/// What of diff_dst a place of the window gets: all of it where the maximum was, or a share.
template <typename Place>
struct ToMaximum {
  const float* diff_dst;
  const Place* places;
  template <int kLanes>
  struct At {
    Vector<float, kLanes> diff;
    Vector<int32_t, kLanes> place;
    LOCKSTEP_INLINE void share(int32_t here, Vector<float, kLanes>& result) const {
      result = place == here ? diff : Vector<float, kLanes>{};
    }
  };
  template <int kLanes>
  LOCKSTEP_INLINE void at(int64_t output, float, At<kLanes>& result) const {
    Vector<Place, kLanes> kept;
    load(result.diff, diff_dst + output);
    load(kept, places + output);
    convert(kept, result.place);
  }
};
struct ToAll {
  const float* diff_dst;
  template <int kLanes>
  struct At {
    Vector<float, kLanes> diff;
    LOCKSTEP_INLINE void share(int32_t, Vector<float, kLanes>& result) const { result = diff; }
  };
  template <int kLanes>
  LOCKSTEP_INLINE void at(int64_t output, float count, At<kLanes>& result) const {
    load(result.diff, diff_dst + output);
    result.diff /= count;
  }
};

/// A share by the weight of the place.
struct ToWeighted {
  const float *diff_dst, *weights;
  template <int kLanes>
  struct At {
    Vector<float, kLanes> diff;
    const float* weights;
    LOCKSTEP_INLINE void share(int32_t here, Vector<float, kLanes>& result) const {
      result = diff * weights[here];
    }
  };
  template <int kLanes>
  LOCKSTEP_INLINE void at(int64_t output, float count, At<kLanes>& result) const {
    load(result.diff, diff_dst + output);
    result.diff /= count;
    result.weights = weights;
  }
};

template <typename Source>
LOCKSTEP_INLINE void write_tiles(const PoolShape& s, const Source& source, float* diff_src) {
  for (int64_t p = 0; p < s.rows; ++p, diff_src += 2 * s.width) {
    float *upper = diff_src, *lower = diff_src + s.width;
    in_lanes(0, s.columns, [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
      typename Source::template At<lanes()> output;
      Vector<float, lanes()> share[4];
      source.at(p * s.columns + q, 4.0f, output);
      for (int32_t place = 0; place < 4; ++place) output.share(place, share[place]);
      store_interleaved(share[0], share[1], upper + 2 * q);
      store_interleaved(share[2], share[3], lower + 2 * q);
    });
    if (s.width % 2) upper[s.width - 1] = lower[s.width - 1] = 0.0f;
  }
  if (s.height % 2) std::fill_n(diff_src, s.width, 0.0f);
}

template <typename Place>
LOCKSTEP_INLINE void scatter_maxima(const PoolShape& s, const ToMaximum<Place>& source, float* diff_src) {
  const uint32_t kernel_w = static_cast<uint32_t>(s.kernel_w);
  std::fill_n(diff_src, s.src_plane(), 0.0f);
  for (int64_t p = 0, o = 0; p < s.rows; ++p)
    for (int64_t q = 0; q < s.columns; ++q, ++o) {
      const uint32_t place = static_cast<uint32_t>(source.places[o]);
      const int64_t y = p * s.stride_h - s.top + place / kernel_w,
                    x = q * s.stride_w - s.left + place % kernel_w;
      diff_src[y * s.width + x] += source.diff_dst[o];
    }
}

/// One output adds to its window.
template <typename Source>
LOCKSTEP_INLINE void add_window(const PoolShape& s, const Source& source, int64_t p, int64_t q,
                                float* diff_src) {
  const Window w = window_at(s, p, q);
  const float count = divisor(s, w);
  in_lanes_once(s.inner, [&](int64_t lane, auto lanes) LOCKSTEP_INLINE_LAMBDA {
    typename Source::template At<lanes()> output;
    source.at((p * s.columns + q) * s.inner + lane, count, output);
    for (int64_t i = w.i0; i < w.i1; ++i)
      for (int64_t j = w.j0; j < w.j1; ++j) {
        float* target = diff_src + ((w.y + i) * s.width + w.x + j) * s.inner + lane;
        Vector<float, lanes()> sum, share;
        load(sum, target);
        output.share(static_cast<int32_t>(i * s.kernel_w + j), share);
        sum += share;
        store(sum, target);
      }
  });
}

/// A row of outputs in a dense plane, place by place of the window: neighbours add to neighbours
/// (stride 1) or to every second element (stride 2).
template <int kStride, typename Source>
LOCKSTEP_INLINE void add_row(const PoolShape& s, const Source& source, int64_t p, const Interior& inside,
                             float* diff_src) {
  const Window w = window_at(s, p, inside.begin);
  const float count = divisor(s, w);
  const int64_t n = inside.end - inside.begin;
  for (int64_t i = w.i0; i < w.i1; ++i)
    for (int64_t j = 0; j < s.kernel_w; ++j) {
      float* target = diff_src + (w.y + i) * s.width + w.x + j;
      const auto add = [&](int64_t q, auto lanes) LOCKSTEP_INLINE_LAMBDA {
        typename Source::template At<lanes()> output;
        source.at(p * s.columns + inside.begin + q, count, output);
        Vector<float, lanes()> sum, between, share;
        output.share(static_cast<int32_t>(i * s.kernel_w + j), share);
        if constexpr (kStride == 1 || lanes() == 1) {
          load(sum, target + kStride * q);
          sum += share;
          store(sum, target + kStride * q);
        } else {
          load_interleaved(sum, between, target + 2 * q);
          sum += share;
          store_interleaved(sum, between, target + 2 * q);
        }
      };
      int64_t q = 0;  // with stride 2, eight lanes touch one element behind the last: not at the end
      for (; q + 8 + (kStride - 1) <= n; q += 8) add(q, Constant<8>());
      for (; q < n; ++q) add(q, One());
    }
}

template <typename Source>
LOCKSTEP_INLINE void backward_plane(const PoolShape& shape, const Source& source, float* diff_src) {
  const PoolShape s = shape;
  if (tiles_by_two(s)) return write_tiles(s, source, diff_src);
  if constexpr (requires { source.places; }) {
    if (s.inner == 1) return scatter_maxima(s, source, diff_src);
  }
  std::fill_n(diff_src, s.src_plane(), 0.0f);
  const bool in_rows = s.inner == 1 && !s.adaptive && s.stride_w <= 2;
  const Interior inside = in_rows ? interior(s) : Interior{0, 0};
  for (int64_t p = 0; p < s.rows; ++p) {
    for (int64_t q = 0; q < inside.begin; ++q) add_window(s, source, p, q, diff_src);
    if (inside.end > inside.begin) {
      if (s.stride_w == 1)
        add_row<1>(s, source, p, inside, diff_src);
      else
        add_row<2>(s, source, p, inside, diff_src);
    }
    for (int64_t q = inside.end; q < s.columns; ++q) add_window(s, source, p, q, diff_src);
  }
}

LOCKSTEP_VECTORIZE void max_backward_u8(const PoolShape& s, const float* diff_dst, const uint8_t* places,
                                        float* diff_src) {
  backward_plane(s, ToMaximum<uint8_t>{diff_dst, places}, diff_src);
}
LOCKSTEP_VECTORIZE void max_backward_i32(const PoolShape& s, const float* diff_dst, const int32_t* places,
                                         float* diff_src) {
  backward_plane(s, ToMaximum<int32_t>{diff_dst, places}, diff_src);
}
LOCKSTEP_VECTORIZE void average_backward(const PoolShape& s, const float* diff_dst, float* diff_src) {
  if (s.weights) return backward_plane(s, ToWeighted{diff_dst, s.weights}, diff_src);
  backward_plane(s, ToAll{diff_dst}, diff_src);
}

}  // namespace

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

void average_pool_backward(const PoolShape& s, int64_t begin, int64_t end, const float* diff_dst,
                           float* diff_src) {
  for (int64_t plane = begin; plane < end; ++plane)
    average_backward(s, diff_dst + plane * s.dst_plane(), diff_src + plane * s.src_plane());
}

}  // namespace lockstep::cpu
