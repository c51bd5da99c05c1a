// How often each class comes in the training data, for losses that weigh classes by it.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/data/data.h"

namespace lockstep {

namespace {

constexpr int64_t kCountedAtOnce = int64_t{1} << 20, kMostCountedClasses = int64_t{1} << 24;

/// Of all numbers of a field; those below 0 are of no class.
std::vector<int64_t> count_ids(const Dataset& dataset, const std::string& name) {
  const Field& field = dataset.field(name);
  const bool is_whole =
      field.dtype == DType::kUInt8 || field.dtype == DType::kInt32 || field.dtype == DType::kInt64;
  if (!is_whole || field.windows)
    throw Error(dataset.path(), fmt::format("'{}' holds no classes that could be counted", name),
                "give class_weights as a list");
  const int64_t of_row = field.shape.n_elements();
  const int64_t n = field.ragged ? dataset.n_elements(name) : dataset.n_samples();
  const int64_t rows = std::max<int64_t>(1, kCountedAtOnce / std::max<int64_t>(1, of_row));
  const int64_t n_bytes = size_of(field.dtype);
  std::vector<std::byte> stored(static_cast<size_t>(std::min(n, rows) * of_row * n_bytes));
  std::vector<int64_t> counts;
  for (int64_t first = 0; first < n; first += rows) {
    const int64_t count = std::min(rows, n - first);
    if (field.ragged)
      dataset.read_elements(name, first, count, stored.data());
    else
      dataset.read(name, first, count, stored.data());
    for (int64_t i = 0; i < count * of_row; ++i) {
      int64_t id = 0;
      const auto take = [&]<typename T>(T value) {
        std::memcpy(&value, stored.data() + i * n_bytes, sizeof value);
        id = static_cast<int64_t>(value);
      };
      if (field.dtype == DType::kUInt8) take(uint8_t{});
      if (field.dtype == DType::kInt32) take(int32_t{});
      if (field.dtype == DType::kInt64) take(int64_t{});
      if (id < 0) continue;
      if (id >= kMostCountedClasses)
        throw Error(dataset.path(), fmt::format("'{}' holds the class {}", name, id),
                    "number the classes from 0, or give class_weights as a list");
      if (id >= static_cast<int64_t>(counts.size())) counts.resize(static_cast<size_t>(id) + 1);
      ++counts[static_cast<size_t>(id)];
    }
  }
  return counts;
}

}  // namespace

std::vector<std::vector<int64_t>> count_classes(const DataOptions& job, const Dataset& dataset,
                                                const DataFields& fields) {
  std::vector<std::vector<int64_t>> counts;
  const std::vector<LossSpec> losses = job.losses();
  if (std::none_of(losses.begin(), losses.end(),
                   [](const LossSpec& loss) { return loss.rule->wants_class_counts(); }))
    return counts;
  for (const LossSpec& loss : losses) {
    counts.emplace_back();
    if (!loss.rule->wants_class_counts()) continue;
    const std::string& target = loss.target.empty() ? fields.target : loss.target;
    if (target.empty() || std::none_of(dataset.fields().begin(), dataset.fields().end(),
                                       [&](const Field& field) { return field.name == target; }))
      throw Error("loss." + loss.name,
                  "class_weights: balanced counts classes of the data, and its target is none",
                  "give class_weights as a list, or name a field: target: FIELD");
    counts.back() = count_ids(dataset, target);
  }
  return counts;
}

void use_class_counts(const DataContract& contract, DataOptions& job) {
  for (size_t i = 0; i < contract.class_counts.size(); ++i) {
    LossSpec* loss = i == 0                           ? &job.loss
                     : i <= job.further_losses.size() ? &job.further_losses[i - 1]
                                                      : nullptr;
    if (loss != nullptr && loss->rule->wants_class_counts() && !contract.class_counts[i].empty())
      loss->rule = loss->rule->with_class_counts(contract.class_counts[i]);
  }
}

}  // namespace lockstep
