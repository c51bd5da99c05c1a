#include "src/run/not_finite_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lockstep {

namespace {

/// Exponents of ones are infinities and NaN. Counting instead of stopping lets the compiler vectorise it.
bool is_finite(const float* values, int64_t n) {
  int64_t n_bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    n_bad += (bits & 0x7F800000U) == 0x7F800000U;
  }
  return n_bad == 0;
}

}  // namespace

bool NotFiniteRows::is_ragged(const std::string& field) const {
  return dataset_ && dataset_->field(field).ragged;
}

void NotFiniteRows::look_at(const MicroBatch& batch) {
  std::vector<bool> bad;
  for (size_t f = 0; f < fields_.size(); ++f) {
    if (fields_[f].dtype != DType::kFloat32 || is_ragged(fields_[f].name)) continue;
    const int64_t n = fields_[f].shape.n_elements();
    const auto* values = static_cast<const float*>(batch.data[f]);
    if (is_finite(values, batch.n_valid * n)) continue;
    bad.resize(static_cast<size_t>(batch.n_valid));
    for (int64_t i = 0; i < batch.n_valid; ++i) {
      if (is_finite(values + i * n, n)) continue;
      bad[static_cast<size_t>(i)] = true;
      const int64_t row = batch.sample_ids[static_cast<size_t>(i)];
      if (row < first_row_) {
        first_row_ = row;
        first_field_ = static_cast<int64_t>(f);
      }
    }
  }
  n_rows_ += std::count(bad.begin(), bad.end(), true);
}

std::string NotFiniteRows::told(Communicator& comm) {
  const int64_t n_rows = comm.all_reduce_sum(n_rows_);
  const auto n_fields = static_cast<int64_t>(fields_.size());
  const int64_t own = n_rows_ > 0 ? first_row_ * n_fields + first_field_ : INT64_MAX;
  const int64_t first = -comm.all_reduce_max(-own);
  n_rows_ = 0;
  first_row_ = INT64_MAX;
  if (n_rows == 0) return "";
  int64_t row = first / n_fields;
  if (dataset_)
    row = dataset_->row_spans(fields_[static_cast<size_t>(first % n_fields)].name).stored_row(row);
  std::string shard;
  const std::vector<Dataset::Shard> shards = dataset_ ? dataset_->shards() : std::vector<Dataset::Shard>{};
  for (const Dataset::Shard& s : shards) {
    if (row >= s.first && row < s.first + s.n_samples && shards.size() > 1)
      shard = fmt::format(" (row {} of {})", row - s.first, s.path);
  }
  return fmt::format("{}: field '{}' of row {}{} holds a value that is not finite{}", path_,
                     fields_[static_cast<size_t>(first % n_fields)].name, row, shard,
                     n_rows == 1 ? "" : fmt::format(", the first of {} such rows", n_rows));
}

}  // namespace lockstep
