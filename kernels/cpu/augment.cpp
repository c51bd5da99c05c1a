// Augmentation on the CPU, row by row of the output: whole pixels are copied from a row of the source; where
// columns stay columns, two rows are blended and then sampled along the row; else the places of a row are
// computed once for all channels, and gathered from a float32 copy of the sample. Where values are altered,
// the rows of all channels pass through a buffer in the first cache level.
#include "kernels/augment.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cpu/augment_rows.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"

namespace lockstep::cpu {

namespace {

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
    source_ = {static_cast<int32_t>(src_height_), static_cast<int32_t>(src_width_), desc.border, desc.fill};
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
  /// How rows are made; `pixels`: room for a float32 copy of the sample.
  struct Way {
    const AugmentRecord& record;
    const Src* src;
    float* pixels;
    Places places;
    enum { kCopies, kUpright, kAny } kind;
    int64_t first = 0, n = 0;  // kUpright: the columns of the source that are read
  };

  void one(const AugmentRecord& record, const Src* src, float* scratch, Dst* dst) const {
    if (record.is_padding) {
      std::fill_n(dst, channels_ * height_ * width_, from_float<Dst>(0.0f));
      return;
    }
    float* rows = scratch + channels_ * src_height_ * src_width_;
    float* more = rows + channels_ * padded_width_;
    Places places;
    for (float*& share : places.share) share = std::exchange(more, more + padded_width_);
    for (int32_t*& offset : places.offset)
      offset = reinterpret_cast<int32_t*>(std::exchange(more, more + padded_width_));
    places.outside = std::exchange(more, more + padded_width_);
    auto* words = reinterpret_cast<uint32_t*>(more);
    const Way way = prepare(record, src, scratch, places);

    for (int64_t y = 0; y < height_; ++y) {
      if (way.kind == Way::kAny) find_places(width_, record, geometry_, from_centre(y), source_, places);
      for (int64_t c = 0; c < channels_; ++c) {
        if (record.alters)
          make_row(way, c, y, Normalize{}, rows + c * padded_width_);
        else
          make_row(way, c, y, normalize(c), dst + (c * height_ + y) * width_);
      }
      if (!record.alters) continue;
      alter(record, y, rows, words);
      for (int64_t c = 0; c < channels_; ++c)
        run(width_, rows + c * padded_width_, normalize(c), dst + (c * height_ + y) * width_);
    }
    erase(record, dst);
  }

  Way prepare(const AugmentRecord& record, const Src* src, float* pixels, const Places& places) const {
    Way way{record, src, pixels, places, Way::kAny};
    if (record.copies) {
      way.kind = Way::kCopies;
    } else if (record.matrix[0][1] == 0 && record.matrix[1][0] == 0 && record.radial == 0) {
      way.kind = Way::kUpright;
      find_columns(width_, record, geometry_, source_, places);
      const auto [low, above_low] = std::minmax_element(places.offset[0], places.offset[0] + width_);
      const auto [below_high, high] = std::minmax_element(places.offset[1], places.offset[1] + width_);
      way.first = std::min(*low, *below_high);
      way.n = std::max(*high, *above_low) + 1 - way.first;
    } else {
      run(channels_ * src_height_ * src_width_, src, Normalize{}, pixels);
    }
    return way;
  }

  /// Row y of channel c, before it is altered.
  template <typename Out>
  void make_row(const Way& way, int64_t c, int64_t y, Normalize to, Out* out) const {
    const int64_t plane = c * src_height_ * src_width_;
    if (way.kind == Way::kCopies) return copy_row(way.record, y, way.src + plane, to, out);
    if (way.kind == Way::kAny) return sample(width_, way.pixels + plane, way.places, source_, to, out);
    const float place = geometry_.row(way.record, 0, from_centre(y));
    const int32_t top = floor_of(place);
    float bottom_share = place - static_cast<float>(top), top_share = 1 - bottom_share;
    if (source_.border == AugmentBorder::kConstant) {
      if (top < 0 || top >= source_.height) top_share = 0;
      if (top < -1 || top >= source_.height - 1) bottom_share = 0;
    }
    const auto from = [&](int32_t row) {
      return way.src + plane + source_.inside(row, source_.height) * src_width_ + way.first;
    };
    const float filling =
        source_.border == AugmentBorder::kConstant ? (1 - (top_share + bottom_share)) * source_.fill : 0;
    blend_rows(way.n, from(top), from(top + 1), top_share, bottom_share, filling, way.pixels + way.first);
    sample_columns(width_, way.pixels, way.places, source_, to, out);
  }

  /// Row y of the output from whole pixels of one plane.
  template <typename Out>
  void copy_row(const AugmentRecord& record, int64_t y, const Src* plane, Normalize to, Out* out) const {
    const float dy = from_centre(y);
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
    return source_.inside(static_cast<int32_t>(i), static_cast<int32_t>(extent));
  }
  float from_centre(int64_t y) const { return static_cast<float>(y) - geometry_.out_y; }
  Normalize normalize(int64_t c) const {
    return {desc_.mean[static_cast<size_t>(c)], desc_.scale[static_cast<size_t>(c)]};
  }

  void alter(const AugmentRecord& record, int64_t y, float* rows, uint32_t* words) const {
    if (channels_ == 3) {
      mix_colours(width_, record, rows, rows + padded_width_, rows + 2 * padded_width_);
    } else {
      for (int64_t c = 0; c < channels_; ++c)
        scale_channel(width_, record.mixing[0][0], record.offset[0], rows + c * padded_width_);
    }
    for (int64_t c = 0; c < channels_; ++c) {
      float* row = rows + c * padded_width_;
      if (record.vignette != 0) darken(width_, record.vignette, geometry_, from_centre(y), row);
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
      const float value =
          record.erases_to_mean ? 0.0f : (record.erase_value - normalize(c).mean) * normalize(c).scale;
      for (int64_t y = record.erase_top; y < record.erase_top + record.erase_height; ++y)
        std::fill_n(dst + (c * height_ + y) * width_ + record.erase_left, record.erase_width,
                    from_float<Dst>(value));
    }
  }

  AugmentDesc desc_;
  int64_t n_, channels_, src_height_, src_width_, height_, width_;
  AugmentGeometry geometry_;
  Surrounded source_;
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
