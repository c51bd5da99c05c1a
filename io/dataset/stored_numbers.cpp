#include "io/dataset/stored_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/error.h"
#include "kernels/float16.h"

namespace lockstep {

namespace {

constexpr int64_t kStoredBlockBytes = int64_t{8} << 20;

template <typename T>
T stored_as(const std::byte* from, int64_t i) {
  T number;
  std::memcpy(&number, from + i * static_cast<int64_t>(sizeof number), sizeof number);
  return number;
}

}  // namespace

double stored_number(DType type, const std::byte* from, int64_t i) {
  switch (type) {
    case DType::kUInt8: return stored_as<uint8_t>(from, i);
    case DType::kInt32: return stored_as<int32_t>(from, i);
    case DType::kInt64: return static_cast<double>(stored_as<int64_t>(from, i));
    case DType::kFloat64: return stored_as<double>(from, i);
    case DType::kFloat16: return half_to_float(stored_as<uint16_t>(from, i));
    case DType::kBFloat16: return std::bit_cast<float>(uint32_t{stored_as<uint16_t>(from, i)} << 16);
    case DType::kFloat32: break;
  }
  return stored_as<float>(from, i);
}

bool is_whole(DType type) { return type == DType::kUInt8 || type == DType::kInt32 || type == DType::kInt64; }

void for_each_block(const Dataset& dataset, const Field& field,
                    const std::function<void(const std::byte*, int64_t, int64_t)>& use) {
  const int64_t bytes = field.shape.n_elements() * size_of(field.dtype);
  const int64_t n = field.ragged ? dataset.n_elements(field.name) : dataset.n_samples();
  const int64_t most = std::max<int64_t>(1, kStoredBlockBytes / std::max<int64_t>(1, bytes));
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

void for_each_whole_number(const Dataset& dataset, const Field& field,
                           const std::function<void(std::span<const int64_t>)>& use) {
  std::vector<int64_t> numbers;
  for_each_block(dataset, field, [&](const std::byte* bytes, int64_t, int64_t count) {
    numbers.resize(static_cast<size_t>(count * field.shape.n_elements()));
    for (size_t i = 0; i < numbers.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      numbers[i] = field.dtype == DType::kUInt8   ? stored_as<uint8_t>(bytes, at)
                   : field.dtype == DType::kInt32 ? stored_as<int32_t>(bytes, at)
                                                  : stored_as<int64_t>(bytes, at);
    }
    use(numbers);
  });
}

std::vector<int64_t> read_whole_numbers(const Dataset& dataset, const Field& field) {
  std::vector<int64_t> all;
  all.reserve(static_cast<size_t>(dataset.n_samples()));
  for_each_whole_number(dataset, field, [&](std::span<const int64_t> numbers) {
    all.insert(all.end(), numbers.begin(), numbers.end());
  });
  return all;
}

std::vector<int64_t> one_number_a_row(const Dataset& dataset, const std::string& name, const char* what) {
  const Field& field = dataset.field(name);
  if (field.ragged || !is_whole(field.dtype) || field.shape.n_elements() != 1)
    throw Error(dataset.path(),
                fmt::format("field '{}' is {} {}{}, not one whole number a sample", name,
                            name_of(field.dtype), field.ragged ? "ragged " : "", field.shape.str()),
                fmt::format("name another field for the {}", what));
  return read_whole_numbers(dataset, field);
}

const Field* find_class_field(const Dataset& dataset) {
  for (const char* name : {"label", "labels", "target", "targets", "y"})
    for (const Field& field : dataset.fields())
      if (field.name == name && is_whole(field.dtype) && !field.ragged && field.shape.n_elements() == 1 &&
          dataset.vocabulary(field.name).empty())
        return &field;
  return nullptr;
}

}  // namespace lockstep
