#include "src/data/label_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/network/loss_place.h"

namespace lockstep {

namespace {

constexpr int64_t kMostLabels = 10'000'000, kAtOnce = 1 << 16;

template <typename T>
int64_t largest(const std::byte* values, int64_t n) {
  int64_t most = -1;
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, values + i * int64_t{sizeof(T)}, sizeof value);
    most = std::max(most, static_cast<int64_t>(value));
  }
  return most;
}

/// -1 where it is not known.
int64_t largest_label(const Dataset& dataset, const std::string& name) {
  const Field& field = dataset.field(name);
  if (field.shape.n_elements() != 1 || dataset.n_samples() > kMostLabels) return -1;
  const int64_t size = size_of(field.dtype);
  std::vector<std::byte> labels(static_cast<size_t>(kAtOnce * size));
  int64_t most = -1;
  for (int64_t first = 0; first < dataset.n_samples(); first += kAtOnce) {
    const int64_t n = std::min(kAtOnce, dataset.n_samples() - first);
    dataset.read(name, first, n, labels.data());
    switch (field.dtype) {
      case DType::kUInt8: most = std::max(most, largest<uint8_t>(labels.data(), n)); break;
      case DType::kInt32: most = std::max(most, largest<int32_t>(labels.data(), n)); break;
      case DType::kInt64: most = std::max(most, largest<int64_t>(labels.data(), n)); break;
      default: return -1;
    }
  }
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
