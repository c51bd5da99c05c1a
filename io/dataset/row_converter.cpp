// Conversion loops, compiled for several instruction sets and chosen at load time. Each
// element sees one subtraction and one multiplication, never contracted, so all variants
// give the same bits.
#include "io/dataset/row_converter.h"

#include <cmath>
#include <cstring>

#include "kernels/error.h"
#include "kernels/vectorize.h"

namespace lockstep {

namespace {

// Statistics of channels with fewer elements than this are spread to one value per element.
constexpr int64_t kMinInner = 64;

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// IEEE half to float without a branch: shift into place, then rescale the exponent by a
/// multiplication, which also makes subnormals right; infinities and NaNs get theirs back.
inline float to_float(Half h) {
  const uint32_t magnitude = uint32_t{h.bits & 0x7FFFu} << 13;
  const float scaled = as_float(magnitude) * as_float(0x77800000u);  // 2^112
  uint32_t bits;
  std::memcpy(&bits, &scaled, sizeof bits);
  bits |= (h.bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
  return as_float(bits | uint32_t{h.bits & 0x8000u} << 16);
}
inline float to_float(BFloat b) { return as_float(uint32_t{b.bits} << 16); }
template <typename T>
inline float to_float(T value) {
  return static_cast<float>(value);
}

template <typename T>
inline T load(const std::byte* src, int64_t i) {
  T value;
  std::memcpy(&value, src + i * static_cast<int64_t>(sizeof(T)), sizeof value);
  return value;
}

// One body, cloned per source type (target_clones does not apply to templates).
template <typename T>
LOCKSTEP_INLINE void plain(const std::byte* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = to_float(load<T>(src, i));
}
template <typename T>
LOCKSTEP_INLINE void one_scale(const std::byte* src, float* dst, int64_t n, float mean, float scale) {
  for (int64_t i = 0; i < n; ++i) dst[i] = (to_float(load<T>(src, i)) - mean) * scale;
}
template <typename T>
LOCKSTEP_INLINE void all_scales(const std::byte* src, float* dst, int64_t n, const float* mean,
                                const float* scale) {
  for (int64_t i = 0; i < n; ++i) dst[i] = (to_float(load<T>(src, i)) - mean[i]) * scale[i];
}

#define LOCKSTEP_CONVERT(T)                                                                              \
  LOCKSTEP_VECTORIZE void convert_plain(T, const std::byte* src, float* dst, int64_t n) {                \
    plain<T>(src, dst, n);                                                                               \
  }                                                                                                      \
  LOCKSTEP_VECTORIZE void convert_one(T, const std::byte* src, float* dst, int64_t n, float mean,        \
                                      float scale) {                                                     \
    one_scale<T>(src, dst, n, mean, scale);                                                              \
  }                                                                                                      \
  LOCKSTEP_VECTORIZE void convert_all(T, const std::byte* src, float* dst, int64_t n, const float* mean, \
                                      const float* scale) {                                              \
    all_scales<T>(src, dst, n, mean, scale);                                                             \
  }
LOCKSTEP_CONVERT(uint8_t)
LOCKSTEP_CONVERT(int32_t)
LOCKSTEP_CONVERT(int64_t)
LOCKSTEP_CONVERT(float)
LOCKSTEP_CONVERT(double)
LOCKSTEP_CONVERT(Half)
LOCKSTEP_CONVERT(BFloat)
#undef LOCKSTEP_CONVERT

/// False where `value` is no whole number that fits.
inline bool to_int64(double value, int64_t* out) {
  if (!(value >= -0x1p63 && value < 0x1p63) || value != std::trunc(value)) return false;
  *out = static_cast<int64_t>(value);
  return true;
}
template <typename T>
inline bool to_label(T value, int64_t* out) {
  if constexpr (std::is_integral_v<T>) {
    *out = static_cast<int64_t>(value);
    return true;
  } else if constexpr (std::is_same_v<T, double>) {
    return to_int64(value, out);
  } else {
    return to_int64(static_cast<double>(to_float(value)), out);
  }
}

}  // namespace

RowConverter::RowConverter(const Field& stored, DType target, const std::vector<float>& mean,
                           const std::vector<float>& stddev, int64_t n_classes, const std::string& where,
                           const Shape& window, int64_t drop_first, int64_t drop_last)
    : name_(stored.name),
      source_(stored.dtype),
      target_(target),
      n_elements_(window.rank() > 0 ? window.n_elements() : stored.shape.n_elements()),
      src_bytes_(stored.shape.n_elements() * size_of(stored.dtype)),
      dst_bytes_(n_elements_ * size_of(target)),
      n_classes_(n_classes) {
  const std::string field = where + ": field " + name_;
  if (window.rank() > 0 && window != stored.shape) {
    const Shape& s = stored.shape;
    if (s.rank() != 3 || window.rank() != 3 || window[0] != s[0] || window[1] > s[1] || window[2] > s[2])
      throw Error(field, "samples " + s.str() + " have no window " + window.str() + " in their middle",
                  "store images of at least that size, with as many channels");
    const auto middle = [](int64_t all, int64_t part) {
      return static_cast<int64_t>(std::nearbyint(static_cast<double>(all - part) / 2));
    };
    const int64_t size = size_of(source_);
    window_ = {s[0] * window[1], window[2] * size,
               window[1],        s[1] * s[2] * size,
               s[2] * size,      (middle(s[1], window[1]) * s[2] + middle(s[2], window[2])) * size};
  }
  const int64_t extent = stored.shape.rank() > 0 && !stored.ragged ? stored.shape[0] : 1;
  if (drop_first < 0 || drop_last < 0 || drop_first >= extent || drop_last >= extent - drop_first)
    throw Error(field,
                "of " + std::to_string(extent) + " elements " + std::to_string(drop_first) +
                    " at the beginning and " + std::to_string(drop_last) + " at the end cannot be dropped",
                "let the windows be longer");
  n_inner_numbers_ = n_elements_ / extent;
  has_positions_ = stored.ragged || n_elements_ > 1;
  dropped_first_ = drop_first;
  if (drop_first + drop_last > 0) {
    if (window_.n_rows > 0)
      throw Error(field, "images have no window and dropped channels at once", "ask for one of them");
    skipped_bytes_ = drop_first * n_inner_numbers_ * size_of(source_);
    n_elements_ -= (drop_first + drop_last) * n_inner_numbers_;
    dst_bytes_ = n_elements_ * size_of(target);
  }
  const bool as_stored = target == DType::kUInt8 && source_ == DType::kUInt8;
  if (target != DType::kFloat32 && target != DType::kInt32 && target != DType::kInt64 && !as_stored)
    throw Error(field, "cannot be delivered as " + std::string(name_of(target)),
                "ask for float32, int32 or int64");
  if (as_stored) {
    if (!mean.empty() || !stddev.empty()) throw Error(field, "bytes cannot be normalised", "ask for float32");
    is_copy_ = window_.n_rows == 0;
    return;
  }
  if (target == DType::kInt64 || target == DType::kInt32) {
    if (!mean.empty() || !stddev.empty())
      throw Error(field, "whole numbers cannot be normalised", "ask for float32, or give no mean and stddev");
    is_copy_ = source_ == target && n_classes <= 0 && window_.n_rows == 0;
    return;
  }
  if (n_classes > 0) throw Error(field, "classes are whole numbers", "ask for int64");
  if (mean.empty() && stddev.empty()) {
    is_copy_ = source_ == DType::kFloat32 && window_.n_rows == 0;
    return;
  }
  const Shape element = stored.element();
  int64_t n_channels = element.rank() > 0 ? element[0] : 1;
  const auto n_given = static_cast<int64_t>(std::max(mean.size(), stddev.size()));
  const bool is_whole = !stored.windows && window_.n_rows == 0 && drop_first + drop_last == 0;
  if (is_whole && n_given > 1 && n_given == n_elements_) n_channels = n_given;  // a mean image
  for (const auto* values : {&mean, &stddev}) {
    const auto n = static_cast<int64_t>(values->size());
    if (n > 1 && n != n_channels) {
      throw Error(field,
                  "has " + std::to_string(n_channels) + " channels, but " + std::to_string(n) +
                      " values for mean or stddev were given",
                  "give one value, or one per channel (the first dimension of a sample)");
    }
  }
  n_channels_ = mean.size() > 1 || stddev.size() > 1 ? n_channels : 1;
  if (n_channels_ > 1 && drop_first + drop_last > 0 && !stored.windows)
    throw Error(field, "some channels are to be dropped, and mean and stddev are given for each",
                "give one mean and stddev for all");
  const int64_t of_channel = element.n_elements() / n_channels_;
  n_inner_ = stored.windows ? of_channel : n_elements_ / n_channels_;
  // Of windows every element repeats the channels.
  per_element_ = n_channels_ > 1 && (n_inner_ < kMinInner || stored.windows);
  const int64_t n_values = per_element_ ? n_elements_ : n_channels_;
  for (int64_t i = 0; i < n_values; ++i) {
    const auto channel = static_cast<size_t>(per_element_ ? i / n_inner_ % n_channels_ : i);
    const auto pick = [&](const std::vector<float>& v, float absent) {
      return v.empty() ? absent : v.size() == 1 ? v[0] : v[channel];
    };
    const float deviation = pick(stddev, 1.0f);
    if (!(deviation > 0) || !std::isfinite(deviation) || !std::isfinite(pick(mean, 0.0f)))
      throw Error(
          field,
          "channel " + std::to_string(channel) + " has a stddev that is not positive, or no finite mean",
          "a constant channel has stddev 0: give it stddev 1");
    mean_.push_back(pick(mean, 0.0f));
    scale_.push_back(1.0f / deviation);
  }
}

void RowConverter::refuse(int64_t row, int64_t position, const std::string& value,
                          const std::string& path) const {
  std::string where = path + ": field " + name_ + ", row " + std::to_string(row);
  if (has_positions_) where += ", position " + std::to_string(position);
  if (n_classes_ <= 0 && value.find_first_not_of("-0123456789") == value.npos)
    throw Error(where, "value " + value + " does not fit " + std::string(name_of(target_)),
                "store smaller numbers");
  if (n_classes_ <= 0) throw Error(where, "value " + value + " is not a whole number", "store whole numbers");
  if (target_ == DType::kInt32)
    throw Error(
        where, "value " + value + " is not an id in [0, " + std::to_string(n_classes_) + ")",
        "convert the data with the vocabulary that the network has, or give the network a larger one");
  throw Error(where, "value " + value + " is not a class in [0, " + std::to_string(n_classes_) + ")",
              "correct the labels, or set the model's number of classes");
}

template <typename T, typename Id>
void RowConverter::to_ids(const std::byte* src, std::byte* dst, int64_t n, int64_t first, int64_t row,
                          const std::string& path) const {
  for (int64_t i = 0; i < n; ++i) {
    const T value = load<T>(src, i);
    int64_t label = 0;
    bool fits = to_label(value, &label);
    if (n_classes_ > 0) fits = fits && label >= 0 && label < n_classes_;
    const auto id = static_cast<Id>(label);
    if (!fits || id != label) {
      const int64_t position = first + dropped_first_ + i / n_inner_numbers_;
      if constexpr (std::is_integral_v<T> || std::is_same_v<T, double>)
        refuse(row, position, std::to_string(value), path);
      else
        refuse(row, position, std::to_string(to_float(value)), path);
    }
    std::memcpy(dst + i * static_cast<int64_t>(sizeof id), &id, sizeof id);
  }
}

template <typename T>
void RowConverter::convert_from(const std::byte* src, std::byte* dst, int64_t n, int64_t first, int64_t row,
                                const std::string& path) const {
  if (target_ == DType::kInt64) return to_ids<T, int64_t>(src, dst, n * n_elements_, first, row, path);
  if (target_ == DType::kInt32) return to_ids<T, int32_t>(src, dst, n * n_elements_, first, row, path);
  auto* out = reinterpret_cast<float*>(dst);
  if (scale_.empty()) return convert_plain(T{}, src, out, n * n_elements_);
  if (!per_element_ && n_channels_ == 1)
    return convert_one(T{}, src, out, n * n_elements_, mean_[0], scale_[0]);
  for (int64_t i = 0; i < n; ++i, out += n_elements_, src += n_elements_ * static_cast<int64_t>(sizeof(T))) {
    if (per_element_) {
      convert_all(T{}, src, out, n_elements_, mean_.data(), scale_.data());
      continue;
    }
    for (int64_t c = 0; c < n_channels_; ++c) {
      convert_one(T{}, src + c * n_inner_ * static_cast<int64_t>(sizeof(T)), out + c * n_inner_, n_inner_,
                  mean_[static_cast<size_t>(c)], scale_[static_cast<size_t>(c)]);
    }
  }
}

const std::byte* RowConverter::windowed(const std::byte* src) const {
  thread_local std::vector<std::byte> pixels;
  pixels.resize(static_cast<size_t>(window_.n_rows * window_.n_bytes));
  for (int64_t row = 0; row < window_.n_rows; ++row) {
    const int64_t channel = row / window_.rows_of_channel, y = row % window_.rows_of_channel;
    std::memcpy(pixels.data() + row * window_.n_bytes,
                src + window_.first + channel * window_.channel_bytes + y * window_.row_bytes,
                static_cast<size_t>(window_.n_bytes));
  }
  return pixels.data();
}

void RowConverter::convert(const std::byte* src, std::byte* dst, int64_t row, const std::string& path,
                           int64_t n, int64_t first) const {
  if (window_.n_rows > 0) src = windowed(src);
  src += skipped_bytes_;
  if (is_copy_ || target_ == DType::kUInt8) {
    std::memcpy(dst, src, static_cast<size_t>(n * dst_bytes_));
    return;
  }
  switch (source_) {
    case DType::kUInt8: return convert_from<uint8_t>(src, dst, n, first, row, path);
    case DType::kInt32: return convert_from<int32_t>(src, dst, n, first, row, path);
    case DType::kInt64: return convert_from<int64_t>(src, dst, n, first, row, path);
    case DType::kFloat32: return convert_from<float>(src, dst, n, first, row, path);
    case DType::kFloat64: return convert_from<double>(src, dst, n, first, row, path);
    case DType::kFloat16: return convert_from<Half>(src, dst, n, first, row, path);
    case DType::kBFloat16: return convert_from<BFloat>(src, dst, n, first, row, path);
  }
}

}  // namespace lockstep
