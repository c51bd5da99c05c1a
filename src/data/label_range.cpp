#include "src/data/label_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "io/dataset/stored_numbers.h"
#include "src/network/loss_place.h"

namespace lockstep {

namespace {

constexpr int64_t kMostLabels = 10'000'000;

/// -1 where it is not known.
int64_t largest_label(const Dataset& dataset, const std::string& name) {
  const Field& field = dataset.field(name);
  if (field.shape.n_elements() != 1 || dataset.n_samples() > kMostLabels || !is_whole(field.dtype)) return -1;
  int64_t most = -1;
  for_each_whole_number(dataset, field, [&](std::span<const int64_t> labels) {
    for (const int64_t label : labels) most = std::max(most, label);
  });
  return most;
}

}  // namespace

std::string surplus_classes(const DataOptions& job, const JobData& data, const Graph& graph) {
  if (!job.loss.is_classification() || loss_target_input(graph, job.loss) >= 0) return "";
  const std::string target = job.loss.target.empty() ? data.train_fields.target : job.loss.target;
  const int64_t n_classes = job.loss.n_classes(graph.vertex(loss_vertex(graph, job.loss)).shape);
  if (target.empty() || n_classes < 2) return "";
  const Field& field = data.train->field(target);
  if (field.ragged || field.windows) return "";  // of a vocabulary some tokens are never asked for
  const std::vector<std::string>& names = data.train->class_names();
  const int64_t n_names = static_cast<int64_t>(names.size());
  if (target == data.train_fields.target && n_names > 0) {
    if (n_names >= n_classes) return "";
    return fmt::format("the model tells {} classes apart, {} names {}: the others are never seen", n_classes,
                       data.train->path(), n_names);
  }
  const int64_t most = largest_label(*data.train, target);
  if (most < 0 || most >= n_classes - 1) return "";
  return fmt::format(
      "the model tells {} classes apart, the largest label of {} is {}: classes from {} on are "
      "never seen",
      n_classes, data.train->path(), most, most + 1);
}

}  // namespace lockstep
