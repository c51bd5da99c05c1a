// Which classes are taken for which, counted: the cost is that of the samples, whatever the number of
// classes.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/communicator.h"
#include "src/metrics/metric.h"

namespace lockstep {

/// Matrices of up to so many classes are kept and written whole; of larger ones only the cells that are not
/// zero.
inline constexpr int64_t kWholeConfusion = 1000;

struct ConfusionCell {
  int64_t truth, predicted, count;
};

class Confusion {
 public:
  explicit Confusion(int64_t n_classes = 0);

  int64_t n_classes() const { return n_classes_; }
  /// Whether the matrix is kept whole.
  bool is_whole() const { return n_classes_ <= kWholeConfusion; }
  /// The targets of a micro-batch that count, and the classes with the highest scores.
  void judge(const LossRule& loss, const Judged& micro_batch);
  /// Both in [0, n_classes).
  void add(int64_t truth, int64_t predicted);
  /// Collective: the counts of all ranks, on every rank.
  void gather(Communicator& comm);

  /// The cells that are not zero, row by row.
  std::vector<ConfusionCell> cells() const;
  /// Of a whole matrix: (n_classes, n_classes), rows true class, columns predicted.
  const std::vector<int64_t>& matrix() const { return matrix_; }

 private:
  int64_t n_classes_;
  std::vector<int64_t> matrix_;                  // where it is whole
  std::unordered_map<int64_t, int64_t> counts_;  // else: by truth * n_classes + predicted
};

/// Samples of a class, predictions of it, and how many were both.
struct ClassCounts {
  int64_t samples = 0, predictions = 0, correct = 0;
};
std::vector<ClassCounts> count_classes(const Confusion& confusion);

}  // namespace lockstep
