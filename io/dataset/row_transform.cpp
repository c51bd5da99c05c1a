#include "io/dataset/row_transform.h"

#include <cstring>
#include <vector>

#include "kernels/error.h"

namespace lockstep {

namespace {

template <typename T>
T load_stored(const std::byte* src, int64_t i) {
  T value;
  std::memcpy(&value, src + i * static_cast<int64_t>(sizeof(T)), sizeof value);
  return value;
}

/// (pixels, channels) -> (channels, pixels) of elements of kBytes.
template <int kBytes>
void move_channels_first(const std::byte* src, std::byte* dst, int64_t n_pixels, int64_t n_channels) {
  for (int64_t c = 0; c < n_channels; ++c) {
    for (int64_t p = 0; p < n_pixels; ++p)
      std::memcpy(dst + (c * n_pixels + p) * kBytes, src + (p * n_channels + c) * kBytes, kBytes);
  }
}

void move_channels_first(const std::byte* src, std::byte* dst, int64_t n_pixels, int64_t n_channels,
                         int64_t element_bytes) {
  switch (element_bytes) {
    case 1: return move_channels_first<1>(src, dst, n_pixels, n_channels);
    case 2: return move_channels_first<2>(src, dst, n_pixels, n_channels);
    case 4: return move_channels_first<4>(src, dst, n_pixels, n_channels);
    default: return move_channels_first<8>(src, dst, n_pixels, n_channels);
  }
}

}  // namespace

RowTransform::RowTransform(const Field& stored, const Dataset::Traits& traits, bool channels_last)
    : stored_(stored), delivered_(stored), traits_(traits) {
  const bool is_half = stored.dtype == DType::kFloat16 || stored.dtype == DType::kBFloat16;
  unpacks_ = !is_half && (traits.scale != 1 || traits.offset != 0);
  checks_missing_ = !is_half && traits.missing.has_value();
  channels_last_ = channels_last && stored.shape.rank() == 3;
  if (unpacks_) delivered_.dtype = DType::kFloat32;
  if (channels_last_) delivered_.shape = Shape{stored.shape[2], stored.shape[0], stored.shape[1]};
  src_bytes_ = stored.shape.n_elements() * size_of(stored.dtype);
  dst_bytes_ = delivered_.shape.n_elements() * size_of(delivered_.dtype);
}

template <typename T>
void RowTransform::unpack(const std::byte* src, float* dst, int64_t n_elements) const {
  for (int64_t i = 0; i < n_elements; ++i)
    dst[i] = static_cast<float>(static_cast<double>(load_stored<T>(src, i)) * traits_.scale + traits_.offset);
}

template <typename T>
int64_t RowTransform::find_missing(const std::byte* src, int64_t n_elements) const {
  for (int64_t i = 0; i < n_elements; ++i)
    if (static_cast<double>(load_stored<T>(src, i)) == *traits_.missing) return i;
  return -1;
}

void RowTransform::apply(const std::byte* src, std::byte* dst, int64_t n, int64_t first_row,
                         const std::string& where) const {
  const auto with_type = [&](auto&& use) {
    switch (stored_.dtype) {
      case DType::kUInt8: return use(uint8_t{});
      case DType::kInt32: return use(int32_t{});
      case DType::kInt64: return use(int64_t{});
      case DType::kFloat64: return use(double{});
      default: return use(float{});
    }
  };
  const int64_t n_elements = stored_.shape.n_elements();
  if (checks_missing_) {
    const int64_t at =
        with_type([&](auto type) { return find_missing<decltype(type)>(src, n * n_elements); });
    if (at >= 0)
      throw Error(where + ": field " + stored_.name + ", row " + std::to_string(first_row + at / n_elements),
                  "is a missing value (_FillValue or missing_value of netCDF)",
                  "fill the gaps, or leave the samples out, before training: xarray's fillna or dropna");
  }
  thread_local std::vector<std::byte> unpacked;
  if (unpacks_) {
    auto* to = dst;
    if (channels_last_) {
      unpacked.resize(static_cast<size_t>(n * dst_bytes_));
      to = unpacked.data();
    }
    with_type([&](auto type) { unpack<decltype(type)>(src, reinterpret_cast<float*>(to), n * n_elements); });
    src = to;
  }
  if (channels_last_) {
    for (int64_t row = 0; row < n; ++row)
      move_channels_first(src + row * dst_bytes_, dst + row * dst_bytes_, stored_.shape[0] * stored_.shape[1],
                          stored_.shape[2], size_of(delivered_.dtype));
  } else if (!unpacks_) {
    std::memcpy(dst, src, static_cast<size_t>(n * dst_bytes_));
  }
}

}  // namespace lockstep
