// What augmentation does to one row of an image on the CPU: loops over its pixels, compiled per instruction
// set. Arrays do not overlap, but for rows that are altered in place.
#pragma once

#include <cstdint>

#include "kernels/augment_pixel.h"
#include "kernels/bfloat16.h"

namespace lockstep::cpu {

/// dst = (value - mean) scale, the two roundings in this order: those of the loader's conversion.
struct Normalize {
  float mean = 0, scale = 1;
};

/// dst[i] = src[i], or src[n - 1 - i], normalised.
#define LOCKSTEP_RUN(Src, Dst)                                 \
  void run(int64_t n, const Src* src, Normalize to, Dst* dst); \
  void reversed(int64_t n, const Src* src, Normalize to, Dst* dst);
LOCKSTEP_RUN(uint8_t, float)
LOCKSTEP_RUN(uint8_t, BFloat16)
LOCKSTEP_RUN(float, float)
LOCKSTEP_RUN(float, BFloat16)
#undef LOCKSTEP_RUN

/// The four pixels around each place of a row, as offsets into a plane, and their shares; `outside` is the
/// share of the fill value. Upright: the two columns around each place, in the first two arrays.
struct Places {
  int32_t* offset[4];
  float* share[4];
  float* outside;
};

/// A plane of the source and what surrounds it.
struct Surrounded {
  int32_t height = 0, width = 0;
  AugmentBorder border = AugmentBorder::kConstant;
  float fill = 0;

  /// The pixel that stands for pixel i of an axis of that extent.
  int32_t inside(int32_t i, int32_t extent) const {
    return border == AugmentBorder::kReflect ? mirrored(i, extent) : clamped(i, extent);
  }
};

/// The places of n pixels of a row, y from the output's centre.
void find_places(int64_t n, const AugmentRecord& record, const AugmentGeometry& geometry, float y,
                 const Surrounded& source, const Places& places);
/// The normalised values there.
void sample(int64_t n, const float* plane, const Places& places, const Surrounded& source, Normalize to,
            float* dst);
void sample(int64_t n, const float* plane, const Places& places, const Surrounded& source, Normalize to,
            BFloat16* dst);

/// Where columns stay columns (matrix[0][1] and [1][0] are 0, no lens): the same for all rows.
void find_columns(int64_t n, const AugmentRecord& record, const AugmentGeometry& geometry,
                  const Surrounded& source, const Places& places);
/// dst = top · top_share + bottom · bottom_share + filling
void blend_rows(int64_t n, const uint8_t* top, const uint8_t* bottom, float top_share, float bottom_share,
                float filling, float* dst);
void blend_rows(int64_t n, const float* top, const float* bottom, float top_share, float bottom_share,
                float filling, float* dst);
/// The normalised values of a row at the columns found.
void sample_columns(int64_t n, const float* row, const Places& places, const Surrounded& source, Normalize to,
                    float* dst);
void sample_columns(int64_t n, const float* row, const Places& places, const Surrounded& source, Normalize to,
                    BFloat16* dst);

/// In place: the colours of three channels; one channel; the vignette; noise of these random words; [0, 255].
void mix_colours(int64_t n, const AugmentRecord& record, float* red, float* green, float* blue);
void scale_channel(int64_t n, float factor, float offset, float* values);
void darken(int64_t n, float vignette, const AugmentGeometry& geometry, float y, float* values);
void add_noise(int64_t n, float deviation, const uint32_t* words, float* values);
void clamp_to_bytes(int64_t n, float* values);

}  // namespace lockstep::cpu
