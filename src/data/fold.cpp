// The key data.fold: which rows of the training data a run trains on, and which it validates on.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "io/convert/split_parts.h"
#include "io/dataset/stored_numbers.h"
#include "kernels/printable.h"
#include "src/config/numbers.h"
#include "src/data/data.h"

namespace lockstep {

namespace {

constexpr int64_t kMostFolds = 10'000;

/// Each fold validates on some samples of each class.
void check_class_sizes(const FoldSpec& fold, const std::vector<int64_t>& labels, const Dataset& dataset) {
  std::map<int64_t, int64_t> counts;
  for (const int64_t label : labels) ++counts[label];
  const std::vector<std::string>& names = dataset.class_names();
  for (const auto& [label, count] : counts) {
    if (count >= fold.of) continue;
    const bool is_named = label >= 0 && label < static_cast<int64_t>(names.size());
    throw Error("data.fold",
                fmt::format("class {} has {} sample{}, fewer than the {} folds",
                            is_named ? "'" + printable(names[static_cast<size_t>(label)]) + "'"
                                     : std::to_string(label),
                            count, count == 1 ? "" : "s", fold.of),
                "use fewer folds, more samples of the class, or folds that are not stratified");
  }
}

}  // namespace

FoldSpec read_fold(const Config& data) {
  FoldSpec fold;
  const std::optional<Config> found = data.find("fold");
  if (!found) return fold;
  fold.of = read_whole(*found, "of", 0, 2, kMostFolds);
  if (!found->has("of")) found->get_int("of");  // says that it is missing
  fold.held_out = read_whole(*found, "held_out", 1, 1, kMostFolds);
  fold.is_stratified = found->get_bool("stratify", false);
  fold.group_by = found->get_string("group_by", "");
  fold.seed = static_cast<uint64_t>(read_whole(*found, "seed", 0, 0, int64_t{1} << 62));
  if (fold.held_out > fold.of)
    throw found->error_at("held_out", fmt::format("is fold {} of {}", fold.held_out, fold.of),
                          fmt::format("give a number from 1 to {}", fold.of));
  if (fold.is_stratified && !fold.group_by.empty())
    throw found->error_at("group_by", "and stratify exclude each other", "choose one of them");
  found->finish();
  return fold;
}

FoldRows fold_rows(const FoldSpec& fold, const Dataset& dataset, const DataFields& fields) {
  SplitRules rules;
  for (int64_t i = 1; i <= fold.of; ++i)
    rules.parts.push_back({fmt::format("fold {}", i), 1 / static_cast<double>(fold.of)});
  rules.seed = fold.seed;
  rules.may_be_empty = true;  // of a class; stratified ones are checked here
  std::vector<int64_t> labels, groups;
  if (fold.of > dataset.n_samples())
    throw Error("data.fold", fmt::format("{} samples are fewer than {} folds", dataset.n_samples(), fold.of),
                "use fewer folds");
  if (fold.is_stratified) {
    if (fields.target.empty())
      throw Error("data.fold", "there is no field of classes to stratify by", "leave out stratify");
    labels = one_number_a_row(dataset, fields.target, "classes, or leave out stratify");
    check_class_sizes(fold, labels, dataset);
    rules.rule = SplitRule::kStratified;
    rules.labels = labels;
  } else if (!fold.group_by.empty()) {
    groups = one_number_a_row(dataset, fold.group_by, "groups");
    rules.rule = SplitRule::kGrouped;
    rules.groups = groups;
  }
  std::vector<std::vector<int64_t>> parts = split_rows(rules, dataset.n_samples());
  FoldRows rows;
  for (size_t p = 0; p < parts.size(); ++p) {
    if (static_cast<int64_t>(p) + 1 == fold.held_out)
      rows.held_out = parts[p];
    else
      rows.train.insert(rows.train.end(), parts[p].begin(), parts[p].end());
  }
  std::sort(rows.train.begin(), rows.train.end());
  return rows;
}

}  // namespace lockstep
