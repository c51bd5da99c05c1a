#include "jobs/dataset_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "io/files/checksum.h"

namespace lockstep {

namespace {

constexpr int64_t kValueBlockBytes = int64_t{8} << 20;

float half_value(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000U} << 16, exponent = bits >> 10 & 31U, mantissa = bits & 0x3ffU;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(mantissa), -24), sign ? -1.0F : 1.0F);
  return std::bit_cast<float>(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13);
}

/// Number i of those stored as `type`.
double stored_number(DType type, const std::byte* from, int64_t i) {
  const auto as = [&]<typename T>(T number) {
    std::memcpy(&number, from + i * static_cast<int64_t>(sizeof number), sizeof number);
    return number;
  };
  switch (type) {
    case DType::kUInt8: return as(uint8_t{});
    case DType::kInt32: return as(int32_t{});
    case DType::kInt64: return static_cast<double>(as(int64_t{}));
    case DType::kFloat64: return as(double{});
    case DType::kFloat16: return half_value(as(uint16_t{}));
    case DType::kBFloat16: return std::bit_cast<float>(uint32_t{as(uint16_t{})} << 16);
    case DType::kFloat32: break;
  }
  return as(float{});
}

/// Calls use(bytes, first, count) for successive elements of the field: rows, or what ragged rows consist of.
template <typename Use>
void for_each_block(const Dataset& dataset, const Field& field, const Use& use) {
  const int64_t bytes = field.shape.n_elements() * size_of(field.dtype);
  const int64_t n = field.ragged ? dataset.n_elements(field.name) : dataset.n_samples();
  const int64_t most = std::max<int64_t>(1, kValueBlockBytes / std::max<int64_t>(1, bytes));
  std::vector<std::byte> block(static_cast<size_t>(std::min(n, most) * bytes));
  for (int64_t first = 0; first < n; first += most) {
    const int64_t count = std::min(most, n - first);
    if (field.ragged)
      dataset.read_elements(field.name, first, count, block.data());
    else
      dataset.read(field.name, first, count, block.data());
    use(block.data(), first, count);
  }
}

}  // namespace

FieldValues read_field_values(const Dataset& dataset, const Field& field) {
  FieldValues values;
  double sum = 0, least = std::numeric_limits<double>::infinity(), most = -least;
  const int64_t n_numbers = field.shape.n_elements();
  for_each_block(dataset, field, [&](const std::byte* bytes, int64_t, int64_t count) {
    for (int64_t i = 0; i < count * n_numbers; ++i) {
      const double value = stored_number(field.dtype, bytes, i);
      if (std::isfinite(value)) {
        sum += value;
        least = std::min(least, value);
        most = std::max(most, value);
      } else {
        ++(std::isnan(value) ? values.n_nan : values.n_infinite);
      }
    }
    values.n += count * n_numbers;
  });
  if (const int64_t n_finite = values.n - values.n_nan - values.n_infinite; n_finite > 0) {
    values.least = least;
    values.most = most;
    values.mean = sum / static_cast<double>(n_finite);
  }
  return values;
}

const Field* find_class_field(const Dataset& dataset) {
  for (const char* name : {"label", "labels", "target", "targets", "y"})
    for (const Field& field : dataset.fields()) {
      const bool is_whole =
          field.dtype == DType::kUInt8 || field.dtype == DType::kInt32 || field.dtype == DType::kInt64;
      if (field.name == name && is_whole && !field.ragged && field.shape.n_elements() == 1 &&
          dataset.vocabulary(field.name).empty())
        return &field;
    }
  return nullptr;
}

std::vector<int64_t> read_class_ids(const Dataset& dataset, const Field& field) {
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(dataset.n_samples()));
  for_each_block(dataset, field, [&](const std::byte* bytes, int64_t, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      ids.push_back(static_cast<int64_t>(stored_number(field.dtype, bytes, i)));
  });
  return ids;
}

Duplicates find_duplicates(const Dataset& dataset, const Field& field,
                           const std::vector<int64_t>& class_ids) {
  Duplicates found;
  std::map<std::pair<uint64_t, uint64_t>, int64_t> first_of;
  const int64_t bytes = field.shape.n_elements() * size_of(field.dtype);
  for_each_block(dataset, field, [&](const std::byte* block, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const Hash128 hash = hash128(block + i * bytes, bytes);
      const auto [at, is_new] = first_of.try_emplace({hash.low, hash.high}, first + i);
      if (is_new) continue;
      ++found.n;
      const int64_t earlier = at->second;
      const bool is_other = !class_ids.empty() && class_ids[static_cast<size_t>(earlier)] !=
                                                      class_ids[static_cast<size_t>(first + i)];
      const bool first_other = is_other && found.n_other == 0;
      found.n_other += is_other;
      if (found.n == 1 || first_other) {
        found.first_row = earlier;
        found.second_row = first + i;
      }
    }
  });
  return found;
}

std::string text_bar(int64_t part, int64_t most, int width) {
  if (part <= 0 || most <= 0) return "";
  const auto n = std::max<int64_t>(1, (part * width + most / 2) / most);
  std::string bar;
  for (int64_t i = 0; i < n; ++i) bar += "█";
  return bar;
}

}  // namespace lockstep
