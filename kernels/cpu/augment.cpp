// Augmentation on the CPU, row by row of the output: whole pixels are copied from a row of the source;
// else the places of a row are computed once for all channels, and gathered from a float32 copy of the
// sample. Where values are altered, the rows of all channels pass through a buffer in the first cache level.
#include "kernels/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/augment_pixel.h"
#include "kernels/backend.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kParallelElements = 32768;

/// dst = (value - mean) scale, the two roundings in this order: those of the loader's conversion.
struct Normalize {
  float mean = 0, scale = 1;
};

// Loops, cloned per type (target_clones does not apply to templates).
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

/// The four pixels around each place of a row, as offsets into a plane, and their shares; `outside` is the
/// share of the fill value.
struct Places {
  int32_t* offset[4];
  float* share[4];
  float* outside;
};

struct Window {
  int32_t height, width;  // of the source
  AugmentBorder border;
};

template <AugmentBorder kBorder>
LOCKSTEP_INLINE void places_loop(int64_t n, const AugmentRecord& r, const AugmentGeometry& g, float y,
                                 Window s, const Places& places) {
  // Locals: the compiler need not fear that the arrays overlap them.
  int32_t *o0 = places.offset[0], *o1 = places.offset[1], *o2 = places.offset[2], *o3 = places.offset[3];
  float *s0 = places.share[0], *s1 = places.share[1], *s2 = places.share[2], *s3 = places.share[3];
  float* outside = places.outside;
  const AugmentRecord record = r;
  const AugmentGeometry geometry = g;
  const auto pixel = [&](int32_t i, int32_t extent) LOCKSTEP_INLINE_LAMBDA {
    return kBorder == AugmentBorder::kReflect ? mirrored(i, extent) : clamped(i, extent);
  };
#pragma GCC ivdep
  for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) {
    const float x = static_cast<float>(i) - geometry.out_x;
    const float column = geometry.column(record, x, y), row = geometry.row(record, x, y);
    const int32_t left = floor_of(column), top = floor_of(row);
    const float right_share = column - static_cast<float>(left);
    const float bottom_share = row - static_cast<float>(top);
    float l = 1 - right_share, t = 1 - bottom_share, r_ = right_share, b = bottom_share;
    if (kBorder == AugmentBorder::kConstant) {
      l = left >= 0 && left < s.width ? l : 0;
      r_ = left >= -1 && left < s.width - 1 ? r_ : 0;
      t = top >= 0 && top < s.height ? t : 0;
      b = top >= -1 && top < s.height - 1 ? b : 0;
      outside[i] = 1 - (l + r_) * (t + b);
    }
    const int32_t c0 = pixel(left, s.width), c1 = pixel(left + 1, s.width);
    const int32_t r0 = pixel(top, s.height) * s.width, r1 = pixel(top + 1, s.height) * s.width;
    o0[i] = r0 + c0;
    o1[i] = r0 + c1;
    o2[i] = r1 + c0;
    o3[i] = r1 + c1;
    s0[i] = t * l;
    s1[i] = t * r_;
    s2[i] = b * l;
    s3[i] = b * r_;
  }
}
#define LOCKSTEP_PLACES(name, border)                                                                \
  LOCKSTEP_VECTORIZE void name(int64_t n, const AugmentRecord& r, const AugmentGeometry& g, float y, \
                               Window s, const Places& places) {                                     \
    places_loop<border>(n, r, g, y, s, places);                                                      \
  }
LOCKSTEP_PLACES(places_filled, AugmentBorder::kConstant)
LOCKSTEP_PLACES(places_clamped, AugmentBorder::kEdge)
LOCKSTEP_PLACES(places_mirrored, AugmentBorder::kReflect)
#undef LOCKSTEP_PLACES

template <typename Dst>
LOCKSTEP_INLINE void sample_loop(int64_t n, const float* plane, const Places& p, bool fills, float fill,
                                 Normalize to, Dst* dst) {
  const int32_t *o0 = p.offset[0], *o1 = p.offset[1], *o2 = p.offset[2], *o3 = p.offset[3];
  const float *s0 = p.share[0], *s1 = p.share[1], *s2 = p.share[2], *s3 = p.share[3];
  const float* outside = p.outside;
  if (fills) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const float value =
          ((plane[o0[i]] * s0[i] + plane[o1[i]] * s1[i]) + (plane[o2[i]] * s2[i] + plane[o3[i]] * s3[i])) +
          outside[i] * fill;
      dst[i] = from_float<Dst>((value - to.mean) * to.scale);
    }
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float value =
        (plane[o0[i]] * s0[i] + plane[o1[i]] * s1[i]) + (plane[o2[i]] * s2[i] + plane[o3[i]] * s3[i]);
    dst[i] = from_float<Dst>((value - to.mean) * to.scale);
  }
}
LOCKSTEP_VECTORIZE void sample(int64_t n, const float* plane, const Places& p, bool fills, float fill,
                               Normalize to, float* dst) {
  sample_loop(n, plane, p, fills, fill, to, dst);
}
LOCKSTEP_VECTORIZE void sample(int64_t n, const float* plane, const Places& p, bool fills, float fill,
                               Normalize to, BFloat16* dst) {
  sample_loop(n, plane, p, fills, fill, to, dst);
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

template <typename Src, typename Dst>
class Augment : public Op {
 public:
  explicit Augment(const AugmentDesc& desc)
      : desc_(desc),
        n_(desc.src.shape[0]),
        channels_(desc.src.shape[1]),
        src_height_(desc.src.shape[2]),
        src_width_(desc.src.shape[3]),
        height_(desc.dst.shape[2]),
        width_(desc.dst.shape[3]),
        geometry_(src_height_, src_width_, height_, width_),
        padded_width_((width_ + 3) / 4 * 4) {
    info_.src = {desc.src, {{n_, int64_t{sizeof(AugmentRecord)}}, DType::kUInt8, nullptr}};
    info_.dst = {desc.dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    const int64_t n_elements = std::max(desc.src.n_elements(), desc.dst.n_elements());
    n_parts_ =
        std::clamp<int64_t>(n_elements / kParallelElements, 1, std::min<int64_t>(n_, compute_threads()));
    // A copy of the sample, the altered rows, the nine arrays of Places, random words.
    part_floats_ = channels_ * src_height_ * src_width_ + (channels_ + 10) * padded_width_;
    part_floats_ = (part_floats_ + 15) / 16 * 16;
    info_.scratchpad_bytes = n_parts_ * part_floats_ * int64_t{sizeof(float)};
  }

  void forward(Stream&, const OpArgs& args) override {
    const Src* src = args.src[0].as<const Src>();
    const auto* records = args.src[1].as<const AugmentRecord>();
    Dst* dst = args.dst[0].as<Dst>();
    const int64_t src_size = channels_ * src_height_ * src_width_, dst_size = channels_ * height_ * width_;
#pragma omp parallel for schedule(static) if (n_parts_ > 1) num_threads(static_cast <int>(n_parts_))
    for (int64_t part = 0; part < n_parts_; ++part) {
      float* scratch = reinterpret_cast<float*>(args.scratchpad) + part * part_floats_;
      for (int64_t n = part * n_ / n_parts_; n < (part + 1) * n_ / n_parts_; ++n)
        one(records[n], src + n * src_size, scratch, dst + n * dst_size);
    }
  }
  void backward(Stream&, const OpArgs&) override {}

 private:
  void one(const AugmentRecord& record, const Src* src, float* scratch, Dst* dst) const {
    if (record.is_padding) {
      std::fill_n(dst, channels_ * height_ * width_, from_float<Dst>(0.0f));
      return;
    }
    float* plane = scratch;
    const int64_t src_plane = src_height_ * src_width_;
    float* rows = plane + channels_ * src_plane;
    float* more = rows + channels_ * padded_width_;
    Places places;
    for (float*& share : places.share) share = std::exchange(more, more + padded_width_);
    for (int32_t*& offset : places.offset)
      offset = reinterpret_cast<int32_t*>(std::exchange(more, more + padded_width_));
    places.outside = std::exchange(more, more + padded_width_);
    auto* words = reinterpret_cast<uint32_t*>(more);
    if (!record.copies) run(channels_ * src_plane, src, Normalize{}, plane);

    for (int64_t y = 0; y < height_; ++y) {
      const float from_centre = static_cast<float>(y) - geometry_.out_y;
      if (!record.copies) find_places(record, from_centre, places);
      for (int64_t c = 0; c < channels_; ++c) {
        Dst* out = dst + (c * height_ + y) * width_;
        const Normalize to{desc_.mean[static_cast<size_t>(c)], desc_.scale[static_cast<size_t>(c)]};
        float* row = rows + c * padded_width_;
        if (record.copies) {
          const Src* from = src + c * src_plane;
          record.alters ? copy_row(record, y, from, Normalize{}, row) : copy_row(record, y, from, to, out);
        } else {
          const bool fills = desc_.border == AugmentBorder::kConstant;
          const float* from = plane + c * src_plane;
          record.alters ? sample(width_, from, places, fills, desc_.fill, Normalize{}, row)
                        : sample(width_, from, places, fills, desc_.fill, to, out);
        }
      }
      if (!record.alters) continue;
      alter(record, y, rows, words);
      for (int64_t c = 0; c < channels_; ++c)
        run(width_, rows + c * padded_width_,
            Normalize{desc_.mean[static_cast<size_t>(c)], desc_.scale[static_cast<size_t>(c)]},
            dst + (c * height_ + y) * width_);
    }
    erase(record, dst);
  }

  void find_places(const AugmentRecord& record, float y, const Places& places) const {
    const Window source{static_cast<int32_t>(src_height_), static_cast<int32_t>(src_width_), desc_.border};
    switch (desc_.border) {
      case AugmentBorder::kConstant: return places_filled(width_, record, geometry_, y, source, places);
      case AugmentBorder::kEdge: return places_clamped(width_, record, geometry_, y, source, places);
      case AugmentBorder::kReflect: return places_mirrored(width_, record, geometry_, y, source, places);
    }
  }

  /// Row y of the output from whole pixels of one plane.
  template <typename Out>
  void copy_row(const AugmentRecord& record, int64_t y, const Src* plane, Normalize to, Out* out) const {
    const float dy = static_cast<float>(y) - geometry_.out_y;
    int64_t row = static_cast<int64_t>(geometry_.row(record, -geometry_.out_x, dy));
    const int64_t first = static_cast<int64_t>(geometry_.column(record, -geometry_.out_x, dy));
    const bool constant = desc_.border == AugmentBorder::kConstant;
    const Out filling = from_float<Out>((desc_.fill - to.mean) * to.scale);
    if (constant && (row < 0 || row >= src_height_)) {
      std::fill_n(out, width_, filling);
      return;
    }
    row = inside(row, src_height_);
    const Src* from = plane + row * src_width_;
    const bool reverses = record.matrix[0][0] < 0;
    // Output columns [begin, end) lie in the source.
    const int64_t before = reverses ? first - (src_width_ - 1) : -first;
    const int64_t until = reverses ? first + 1 : src_width_ - first;
    const int64_t begin = std::clamp<int64_t>(before, 0, width_), end = std::clamp(until, begin, width_);
    if (reverses)
      reversed(end - begin, from + (first - end + 1), to, out + begin);
    else
      run(end - begin, from + (first + begin), to, out + begin);
    const auto fill_between = [&](int64_t i, int64_t last) {
      if (constant) return static_cast<void>(std::fill_n(out + i, last - i, filling));
      for (; i < last; ++i) run(1, from + inside(reverses ? first - i : first + i, src_width_), to, out + i);
    };
    fill_between(0, begin);
    fill_between(end, width_);
  }
  int64_t inside(int64_t i, int64_t extent) const {
    const auto at = static_cast<int32_t>(i), n = static_cast<int32_t>(extent);
    return desc_.border == AugmentBorder::kReflect ? mirrored(at, n) : clamped(at, n);
  }

  void alter(const AugmentRecord& record, int64_t y, float* rows, uint32_t* words) const {
    const float from_centre = static_cast<float>(y) - geometry_.out_y;
    if (channels_ == 3) {
      mix_colours(width_, record, rows, rows + padded_width_, rows + 2 * padded_width_);
    } else {
      for (int64_t c = 0; c < channels_; ++c)
        scale_channel(width_, record.mixing[0][0], record.offset[0], rows + c * padded_width_);
    }
    for (int64_t c = 0; c < channels_; ++c) {
      float* row = rows + c * padded_width_;
      if (record.vignette != 0) darken(width_, record.vignette, geometry_, from_centre, row);
      if (record.noise != 0) {
        philox_words(std::array{record.noise_key[0], record.noise_key[1]},
                     record.noise_counter[0] | uint64_t{record.noise_counter[1]} << 32,
                     static_cast<uint64_t>((c * height_ + y) * padded_width_), width_, words);
        add_noise(width_, record.noise, words, row);
      }
      if (std::is_same_v<Src, uint8_t>) clamp_to_bytes(width_, row);
    }
  }

  void erase(const AugmentRecord& record, Dst* dst) const {
    for (int64_t c = 0; c < channels_ && record.erase_height > 0; ++c) {
      const float mean = desc_.mean[static_cast<size_t>(c)], scale = desc_.scale[static_cast<size_t>(c)];
      const float value = record.erases_to_mean ? 0.0f : (record.erase_value - mean) * scale;
      for (int64_t y = record.erase_top; y < record.erase_top + record.erase_height; ++y)
        std::fill_n(dst + (c * height_ + y) * width_ + record.erase_left, record.erase_width,
                    from_float<Dst>(value));
    }
  }

  AugmentDesc desc_;
  int64_t n_, channels_, src_height_, src_width_, height_, width_;
  AugmentGeometry geometry_;
  int64_t padded_width_, n_parts_ = 1, part_floats_ = 0;
};

template <typename Src>
std::unique_ptr<Op> make(const AugmentDesc& desc) {
  if (desc.dst.dtype == DType::kBFloat16) return std::make_unique<Augment<Src, BFloat16>>(desc);
  return std::make_unique<Augment<Src, float>>(desc);
}

}  // namespace

std::unique_ptr<Op> make_augment(const OpConfig&, const AugmentDesc& desc) {
  return desc.src.dtype == DType::kUInt8 ? make<uint8_t>(desc) : make<float>(desc);
}

}  // namespace lockstep::cpu
