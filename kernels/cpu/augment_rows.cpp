// See augment_rows.h. target_clones does not apply to templates: each loop is a template, cloned per type.
#include "kernels/cpu/augment_rows.h"

#include <cmath>

#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

template <typename Src, typename Dst>
LOCKSTEP_INLINE void run_loop(int64_t n, const Src* src, Normalize to, Dst* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<Dst>((static_cast<float>(src[i]) - to.mean) * to.scale);
}
template <typename Src, typename Dst>
LOCKSTEP_INLINE void reversed_loop(int64_t n, const Src* src, Normalize to, Dst* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    dst[i] = from_float<Dst>((static_cast<float>(src[n - 1 - i]) - to.mean) * to.scale);
}

/// One axis: the two pixels around a place, and their shares. Conditions are numbers, so that there is no
/// branch to undo.
struct Pair {
  int32_t low, high;
  float low_share, high_share;
};
template <AugmentBorder kBorder>
LOCKSTEP_INLINE Pair pair_at(float place, int32_t extent) {
  const int32_t at = floor_of(place);
  const float beyond = place - static_cast<float>(at);
  if constexpr (kBorder == AugmentBorder::kReflect)
    return {mirrored(at, extent), mirrored(at + 1, extent), 1 - beyond, beyond};
  const int32_t low = clamped(at, extent), high = clamped(at + 1, extent);
  if constexpr (kBorder == AugmentBorder::kEdge) return {low, high, 1 - beyond, beyond};
  return {low, high, static_cast<float>(low == at) * (1 - beyond),
          static_cast<float>(high == at + 1) * beyond};
}

// Records and pointers are copied: the compiler need not fear that the arrays overlap them.
template <AugmentBorder kBorder>
LOCKSTEP_INLINE void places_loop(int64_t n, const AugmentRecord record, const AugmentGeometry geometry,
                                 float y, const Surrounded s, const Places p) {
  int32_t *o0 = p.offset[0], *o1 = p.offset[1], *o2 = p.offset[2], *o3 = p.offset[3];
  float *s0 = p.share[0], *s1 = p.share[1], *s2 = p.share[2], *s3 = p.share[3], *outside = p.outside;
#pragma GCC ivdep
  for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) {
    const float x = static_cast<float>(i) - geometry.out_x;
    const Pair column = pair_at<kBorder>(geometry.column(record, x, y), s.width);
    const Pair row = pair_at<kBorder>(geometry.row(record, x, y), s.height);
    if (kBorder == AugmentBorder::kConstant)
      outside[i] = 1 - (column.low_share + column.high_share) * (row.low_share + row.high_share);
    o0[i] = row.low * s.width + column.low;
    o1[i] = row.low * s.width + column.high;
    o2[i] = row.high * s.width + column.low;
    o3[i] = row.high * s.width + column.high;
    s0[i] = row.low_share * column.low_share;
    s1[i] = row.low_share * column.high_share;
    s2[i] = row.high_share * column.low_share;
    s3[i] = row.high_share * column.high_share;
  }
}
template <AugmentBorder kBorder>
LOCKSTEP_INLINE void columns_loop(int64_t n, const AugmentRecord record, const AugmentGeometry geometry,
                                  const Surrounded s, const Places p) {
  int32_t *o0 = p.offset[0], *o1 = p.offset[1];
  float *s0 = p.share[0], *s1 = p.share[1], *outside = p.outside;
#pragma GCC ivdep
  for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) {
    const Pair column =
        pair_at<kBorder>(geometry.column(record, static_cast<float>(i) - geometry.out_x, 0), s.width);
    if (kBorder == AugmentBorder::kConstant) outside[i] = 1 - (column.low_share + column.high_share);
    o0[i] = column.low;
    o1[i] = column.high;
    s0[i] = column.low_share;
    s1[i] = column.high_share;
  }
}
#define LOCKSTEP_PLACES(name, border)                                                                \
  LOCKSTEP_VECTORIZE void name(int64_t n, const AugmentRecord& r, const AugmentGeometry& g, float y, \
                               const Surrounded& s, const Places& p) {                               \
    places_loop<border>(n, r, g, y, s, p);                                                           \
  }                                                                                                  \
  LOCKSTEP_VECTORIZE void name(int64_t n, const AugmentRecord& r, const AugmentGeometry& g,          \
                               const Surrounded& s, const Places& p) {                               \
    columns_loop<border>(n, r, g, s, p);                                                             \
  }
LOCKSTEP_PLACES(places_filled, AugmentBorder::kConstant)
LOCKSTEP_PLACES(places_clamped, AugmentBorder::kEdge)
LOCKSTEP_PLACES(places_mirrored, AugmentBorder::kReflect)
#undef LOCKSTEP_PLACES

template <typename Dst>
LOCKSTEP_INLINE void sample_loop(int64_t n, const float* plane, const Places p, bool fills, float fill,
                                 Normalize to, Dst* dst) {
  const int32_t *o0 = p.offset[0], *o1 = p.offset[1], *o2 = p.offset[2], *o3 = p.offset[3];
  const float *s0 = p.share[0], *s1 = p.share[1], *s2 = p.share[2], *s3 = p.share[3], *outside = p.outside;
  const auto value = [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
    return (plane[o0[i]] * s0[i] + plane[o1[i]] * s1[i]) + (plane[o2[i]] * s2[i] + plane[o3[i]] * s3[i]);
  };
  if (fills) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      dst[i] = from_float<Dst>((value(i) + outside[i] * fill - to.mean) * to.scale);
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<Dst>((value(i) - to.mean) * to.scale);
}
template <typename Dst>
LOCKSTEP_INLINE void columns_sample_loop(int64_t n, const float* row, const Places p, bool fills, float fill,
                                         Normalize to, Dst* dst) {
  const int32_t *o0 = p.offset[0], *o1 = p.offset[1];
  const float *s0 = p.share[0], *s1 = p.share[1], *outside = p.outside;
  if (fills) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const float value = row[o0[i]] * s0[i] + row[o1[i]] * s1[i] + outside[i] * fill;
      dst[i] = from_float<Dst>((value - to.mean) * to.scale);
    }
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    dst[i] = from_float<Dst>((row[o0[i]] * s0[i] + row[o1[i]] * s1[i] - to.mean) * to.scale);
}
#define LOCKSTEP_SAMPLE(Dst)                                                                       \
  LOCKSTEP_VECTORIZE void sample_typed(int64_t n, const float* plane, const Places& p, bool fills, \
                                       float fill, Normalize to, Dst* dst) {                       \
    sample_loop(n, plane, p, fills, fill, to, dst);                                                \
  }                                                                                                \
  LOCKSTEP_VECTORIZE void columns_typed(int64_t n, const float* row, const Places& p, bool fills,  \
                                        float fill, Normalize to, Dst* dst) {                      \
    columns_sample_loop(n, row, p, fills, fill, to, dst);                                          \
  }
LOCKSTEP_SAMPLE(float)
LOCKSTEP_SAMPLE(BFloat16)
#undef LOCKSTEP_SAMPLE

template <typename Src>
LOCKSTEP_INLINE void blend_loop(int64_t n, const Src* top, const Src* bottom, float top_share,
                                float bottom_share, float filling, float* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    dst[i] = static_cast<float>(top[i]) * top_share + static_cast<float>(bottom[i]) * bottom_share + filling;
}

}  // namespace

#define LOCKSTEP_RUN(Src, Dst)                                                          \
  LOCKSTEP_VECTORIZE void run(int64_t n, const Src* src, Normalize to, Dst* dst) {      \
    run_loop(n, src, to, dst);                                                          \
  }                                                                                     \
  LOCKSTEP_VECTORIZE void reversed(int64_t n, const Src* src, Normalize to, Dst* dst) { \
    reversed_loop(n, src, to, dst);                                                     \
  }
LOCKSTEP_RUN(uint8_t, float)
LOCKSTEP_RUN(uint8_t, BFloat16)
LOCKSTEP_RUN(float, float)
LOCKSTEP_RUN(float, BFloat16)
#undef LOCKSTEP_RUN

void find_places(int64_t n, const AugmentRecord& record, const AugmentGeometry& geometry, float y,
                 const Surrounded& source, const Places& places) {
  switch (source.border) {
    case AugmentBorder::kConstant: return places_filled(n, record, geometry, y, source, places);
    case AugmentBorder::kEdge: return places_clamped(n, record, geometry, y, source, places);
    case AugmentBorder::kReflect: return places_mirrored(n, record, geometry, y, source, places);
  }
}
void find_columns(int64_t n, const AugmentRecord& record, const AugmentGeometry& geometry,
                  const Surrounded& source, const Places& places) {
  switch (source.border) {
    case AugmentBorder::kConstant: return places_filled(n, record, geometry, source, places);
    case AugmentBorder::kEdge: return places_clamped(n, record, geometry, source, places);
    case AugmentBorder::kReflect: return places_mirrored(n, record, geometry, source, places);
  }
}

#define LOCKSTEP_SAMPLE(Dst)                                                                               \
  void sample(int64_t n, const float* plane, const Places& places, const Surrounded& source, Normalize to, \
              Dst* dst) {                                                                                  \
    sample_typed(n, plane, places, source.border == AugmentBorder::kConstant, source.fill, to, dst);       \
  }                                                                                                        \
  void sample_columns(int64_t n, const float* row, const Places& places, const Surrounded& source,         \
                      Normalize to, Dst* dst) {                                                            \
    columns_typed(n, row, places, source.border == AugmentBorder::kConstant, source.fill, to, dst);        \
  }
LOCKSTEP_SAMPLE(float)
LOCKSTEP_SAMPLE(BFloat16)
#undef LOCKSTEP_SAMPLE

LOCKSTEP_VECTORIZE void blend_rows(int64_t n, const uint8_t* top, const uint8_t* bottom, float top_share,
                                   float bottom_share, float filling, float* dst) {
  blend_loop(n, top, bottom, top_share, bottom_share, filling, dst);
}
LOCKSTEP_VECTORIZE void blend_rows(int64_t n, const float* top, const float* bottom, float top_share,
                                   float bottom_share, float filling, float* dst) {
  blend_loop(n, top, bottom, top_share, bottom_share, filling, dst);
}

LOCKSTEP_VECTORIZE void mix_colours(int64_t n, const AugmentRecord& record, float* red, float* green,
                                    float* blue) {
  const AugmentRecord r = record;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float a = red[i], b = green[i], c = blue[i];
    red[i] = r.mixing[0][0] * a + r.mixing[0][1] * b + r.mixing[0][2] * c + r.offset[0];
    green[i] = r.mixing[1][0] * a + r.mixing[1][1] * b + r.mixing[1][2] * c + r.offset[1];
    blue[i] = r.mixing[2][0] * a + r.mixing[2][1] * b + r.mixing[2][2] * c + r.offset[2];
  }
}
LOCKSTEP_VECTORIZE void scale_channel(int64_t n, float factor, float offset, float* values) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) values[i] = factor * values[i] + offset;
}
LOCKSTEP_VECTORIZE void darken(int64_t n, float vignette, const AugmentGeometry& g, float y, float* values) {
  const AugmentGeometry geometry = g;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float x = static_cast<float>(static_cast<int32_t>(i)) - geometry.out_x;
    values[i] *= 1 - vignette * geometry.radius2(x, y);
  }
}
LOCKSTEP_VECTORIZE void add_noise(int64_t n, float deviation, const uint32_t* words, float* values) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    values[i] +=
        deviation * normal_of_bits(words[i], [](float w) LOCKSTEP_INLINE_LAMBDA { return std::sqrt(w); });
}
LOCKSTEP_VECTORIZE void clamp_to_bytes(int64_t n, float* values) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float low = values[i] < 0 ? 0 : values[i];
    values[i] = low > 255 ? 255 : low;
  }
}

}  // namespace lockstep::cpu
