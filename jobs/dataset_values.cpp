#include "jobs/dataset_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "io/dataset/stored_numbers.h"
#include "io/files/checksum.h"

namespace lockstep {

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
