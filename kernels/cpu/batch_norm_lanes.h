// What the loops of batch normalisation share: the forms of a slab, and walks over it. A row is what the
// vectors of one step cover: all channels of a slab at one position, or, in a dense plane,
// eight positions of its channel. A plane's lanes are summed as if they were channels and added
// up at the end.
#pragma once

#include <algorithm>

#include "kernels/cpu/batch_norm_loops.h"
#include "kernels/cpu/float_lanes.h"

namespace lockstep::cpu {

inline constexpr int64_t kChunkElements =
    4096;  // 16 KiB: the second look at a chunk finds it in the first cache

/// kWidth channels side by side.
template <int kWidthOfRow, bool kIsPlane>
struct Form {
  static constexpr int kWidth = kWidthOfRow;
  static constexpr bool kPlane = kIsPlane;
  static constexpr int kLanes = std::min(kWidth, 8);
  static constexpr int kGroups = kWidth / kLanes;
  static constexpr int kRows = 4 / kGroups;  // at once: four sums hide an addition's latency
  using V = Vector<float, kLanes>;
  static int64_t rows(const SlabPlaces& s) { return kPlane ? s.positions / kWidth : s.positions; }
  static int64_t step(const SlabPlaces& s) { return kPlane ? kWidth : s.pitch; }
  /// Elements of a plane behind its last whole row.
  static int64_t tail(const SlabPlaces& s) { return kPlane ? s.positions % kWidth : 0; }
  LOCKSTEP_INLINE static void constants(const float* values, int group, V& v) {
    if constexpr (kPlane)
      v = V{} + values[0];
    else
      load(v, values + group * kLanes);
  }
};

template <typename Body>
LOCKSTEP_INLINE void with_form(const SlabPlaces& s, const Body& body) {
  if (s.pitch == 1) return body(Form<8, true>());
  switch (s.width) {
    case 16: return body(Form<16, false>());
    case 8: return body(Form<8, false>());
    default: return body(Form<1, false>());
  }
}

/// Rows [row, row_end) of the samples [sample, sample_end).
struct Chunk {
  int64_t sample, sample_end, row, row_end;
  int64_t n() const { return (sample_end - sample) * (row_end - row); }
};

/// Small planes share a chunk, large ones are cut.
template <typename F, typename Body>
LOCKSTEP_INLINE void for_chunks(const SlabPlaces& s, const Body& body) {
  const int64_t rows = F::rows(s);
  if (rows == 0) return;
  const int64_t most = kChunkElements / std::max(F::kWidth, 8);
  const int64_t n_samples = std::max<int64_t>(1, most / rows);
  for (int64_t sample = 0; sample < s.samples; sample += n_samples)
    for (int64_t row = 0; row < rows; row += most)
      body(Chunk{sample, std::min(s.samples, sample + n_samples), row, std::min(rows, row + most)});
}

/// body(offset, group, row modulo kRows) for each vector of a chunk; the last two are constants.
template <typename F, typename Body>
LOCKSTEP_INLINE void for_vectors(const SlabPlaces& s, const Chunk& chunk, const Body& body) {
  const int64_t step = F::step(s);
  for (int64_t sample = chunk.sample; sample < chunk.sample_end; ++sample) {
    int64_t at = sample * s.sample_stride + chunk.row * step;
    int64_t n = chunk.row_end - chunk.row;
    for (; n >= F::kRows; n -= F::kRows)
      unrolled<F::kRows>([&](auto row) LOCKSTEP_INLINE_LAMBDA {
        unrolled<F::kGroups>([&](auto group)
                                 LOCKSTEP_INLINE_LAMBDA { body(at + group() * F::kLanes, group, row); });
        at += step;
      });
    for (; n > 0; --n, at += step)
      unrolled<F::kGroups>([&](auto group) LOCKSTEP_INLINE_LAMBDA {
        body(at + group() * F::kLanes, group, std::integral_constant<int, 0>());
      });
  }
}

/// Every element of the slab, sample by sample from the last to the first: body(offset, group, lanes).
template <typename F, typename Body>
LOCKSTEP_INLINE void for_all_backwards(const SlabPlaces& s, const Body& body) {
  const int64_t rows = F::rows(s), step = F::step(s);
  constexpr std::integral_constant<int, F::kLanes> lanes;
  for (int64_t sample = s.samples - 1; sample >= 0; --sample) {
    int64_t at = sample * s.sample_stride;
    for (int64_t row = 0; row < rows; ++row, at += step)
      unrolled<F::kGroups>([&](auto group)
                               LOCKSTEP_INLINE_LAMBDA { body(at + group() * F::kLanes, group, lanes); });
    if constexpr (F::kPlane) {
      for (int64_t i = 0; i < F::tail(s); ++i)
        body(at + i, std::integral_constant<int, 0>(), std::integral_constant<int, 1>());
    }
  }
}

/// body(offset) for the elements of a plane that fill no vector.
template <typename F, typename Body>
LOCKSTEP_INLINE void for_tails(const SlabPlaces& s, const Body& body) {
  if constexpr (F::kPlane) {
    const int64_t tail = F::tail(s);
    for (int64_t sample = 0; sample < s.samples; ++sample)
      for (int64_t i = s.positions - tail; i < s.positions; ++i) body(sample * s.sample_stride + i);
  }
}

/// to (kWidth) = the kRows running sums of each channel as one.
template <typename F>
LOCKSTEP_INLINE void store_totals(const typename F::V (&sums)[4], float* to) {
  unrolled<F::kGroups>([&](auto group) LOCKSTEP_INLINE_LAMBDA {
    typename F::V sum;
    if constexpr (F::kRows == 4)
      sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    else
      sum = sums[group()] + sums[2 + group()];
    store(sum, to + group() * F::kLanes);
  });
}

/// Constants of a slab's channels as vectors, one per group.
template <typename F>
struct Constants {
  typename F::V v[F::kGroups];
  LOCKSTEP_INLINE explicit Constants(const float* values) {
    unrolled<F::kGroups>([&](auto group)
                             LOCKSTEP_INLINE_LAMBDA { F::constants(values, group(), v[group()]); });
  }
  /// Those of a group in as many lanes as wanted: all, or one of a plane's.
  template <typename V>
  LOCKSTEP_INLINE void get(int group, V& result) const {
    if constexpr (sizeof(V) < sizeof(v[0]))
      result = v[0][0];
    else
      result = v[group];
  }
};

/// What makes dst out of src, as vectors. Forward and backward use these same operations, so that
/// a dst recomputed in backward has forward's bits (unless bfloat16 rounded it).
template <typename F>
struct AffineConstants {
  Constants<F> center, scale, shift;
  float low, high;
  LOCKSTEP_INLINE explicit AffineConstants(const SlabAffine& affine)
      : center(affine.center), scale(affine.scale), shift(affine.shift), low(affine.low), high(affine.high) {}
  template <typename V>
  LOCKSTEP_INLINE void centered(int group, V& x) const {
    V c;
    center.get(group, c);
    x -= c;
  }
  /// y = dst before the residual and the bound, of x that is centered.
  template <typename V>
  LOCKSTEP_INLINE void scaled(int group, const V& x, V& y) const {
    V a, b;
    scale.get(group, a);
    shift.get(group, b);
    y = x * a + b;
  }
};

}  // namespace lockstep::cpu
