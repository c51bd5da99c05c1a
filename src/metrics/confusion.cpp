#include "src/metrics/confusion.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "src/metrics/class_scores.h"

namespace lockstep {

namespace {
const bool confusion_metric_registered = metrics().add(
    "confusion",
    [](MetricList& list, Config&, const MetricPlace& place) {
      place.needs_classes("confusion");
      list.counts_confusion = true;
    },
    9);
}

Confusion::Confusion(int64_t n_classes) : n_classes_(n_classes) {
  if (is_whole()) matrix_.assign(static_cast<size_t>(n_classes * n_classes), 0);
}

void Confusion::add(int64_t truth, int64_t predicted) {
  const int64_t key = truth * n_classes_ + predicted;
  if (is_whole())
    ++matrix_[static_cast<size_t>(key)];
  else
    ++counts_[key];
}

void Confusion::judge(const LossRule& loss, const Judged& m) {
  const ClassScores scores(loss, m.sample);
  const auto* targets = static_cast<const int64_t*>(m.target);
  for (int64_t i = 0; i < m.n_valid * scores.places(); ++i) {
    if (scores.counts(targets[i])) add(targets[i], scores.predicted(m.prediction, i));
  }
}

void Confusion::gather(Communicator& comm) {
  if (is_whole()) {
    if (n_classes_ > 0) comm.native_all_reduce(std::span<int64_t>(matrix_));
    return;
  }
  std::vector<int64_t> pairs;  // key, count, key, count …
  for (const auto& [key, count] : counts_) pairs.insert(pairs.end(), {key, count});
  const std::string mine(reinterpret_cast<const char*>(pairs.data()), pairs.size() * sizeof(int64_t));
  counts_.clear();
  for (const std::string& part : comm.all_gather_strings(mine)) {
    for (size_t at = 0; at + 2 * sizeof(int64_t) <= part.size(); at += 2 * sizeof(int64_t)) {
      int64_t pair[2];
      std::memcpy(pair, part.data() + at, sizeof(pair));
      counts_[pair[0]] += pair[1];
    }
  }
}

std::vector<ConfusionCell> Confusion::cells() const {
  std::vector<ConfusionCell> all;
  for (int64_t key = 0; key < static_cast<int64_t>(matrix_.size()); ++key) {
    const int64_t count = matrix_[static_cast<size_t>(key)];
    if (count > 0) all.push_back({key / n_classes_, key % n_classes_, count});
  }
  for (const auto& [key, count] : counts_) all.push_back({key / n_classes_, key % n_classes_, count});
  std::sort(all.begin(), all.end(), [](const ConfusionCell& a, const ConfusionCell& b) {
    return a.truth != b.truth ? a.truth < b.truth : a.predicted < b.predicted;
  });
  return all;
}

std::vector<ClassCounts> count_classes(const Confusion& confusion) {
  std::vector<ClassCounts> classes(static_cast<size_t>(confusion.n_classes()));
  for (const ConfusionCell& cell : confusion.cells()) {
    classes[static_cast<size_t>(cell.truth)].samples += cell.count;
    classes[static_cast<size_t>(cell.predicted)].predictions += cell.count;
    if (cell.truth == cell.predicted) classes[static_cast<size_t>(cell.truth)].correct += cell.count;
  }
  return classes;
}

}  // namespace lockstep
