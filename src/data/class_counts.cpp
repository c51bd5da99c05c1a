// How often each class comes in the training data, for losses that weigh classes by it.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "io/dataset/stored_numbers.h"
#include "src/data/data.h"

namespace lockstep {

namespace {

constexpr int64_t kMostCountedClasses = int64_t{1} << 24;

/// Of all numbers of a field; those below 0 are of no class.
std::vector<int64_t> count_ids(const Dataset& dataset, const std::string& name) {
  const Field& field = dataset.field(name);
  if (!is_whole(field.dtype) || field.windows)
    throw Error(dataset.path(), fmt::format("'{}' holds no classes that could be counted", name),
                "give class_weights as a list");
  std::vector<int64_t> counts;
  for_each_whole_number(dataset, field, [&](std::span<const int64_t> ids) {
    for (const int64_t id : ids) {
      if (id < 0) continue;
      if (id >= kMostCountedClasses)
        throw Error(dataset.path(), fmt::format("'{}' holds the class {}", name, id),
                    "number the classes from 0, or give class_weights as a list");
      if (id >= static_cast<int64_t>(counts.size())) counts.resize(static_cast<size_t>(id) + 1);
      ++counts[static_cast<size_t>(id)];
    }
  });
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
