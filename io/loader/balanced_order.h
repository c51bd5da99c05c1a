// Balanced sampling: an order in which every class comes equally often, whatever their sizes. A function of
// (seed, epoch, position) and of the labels, which are read once; no rank enters it, and any position is
// found in O(1).
//
// An epoch has n positions, as many as there are samples. Of K classes each has floor(n / K) of them, and the
// n mod K that are left go around the classes from epoch to epoch. A class deals its samples like a deck of
// cards: in a permuted order, each of them once before any comes again, across the borders of epochs; then in
// another order. So samples of a small class come several times an epoch, and those of a large one not in
// each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/loader/permutation.h"

namespace lockstep {

class BalancedOrder {
 public:
  /// Reads all labels of the field: whole numbers, one a sample; those below 0 are of no class and never
  /// come. Throws Error where the field is no such one, or holds a single class.
  BalancedOrder(const Dataset& dataset, const std::string& field, uint64_t seed);
  /// labels: of all samples.
  BalancedOrder(const std::vector<int64_t>& labels, uint64_t seed);

  int64_t n_classes() const { return static_cast<int64_t>(members_.size()); }
  /// ids[i] = the row at position first + i in [0, n) of `epoch`.
  void samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const;

 private:
  int64_t row_at(int64_t epoch, int64_t slot) const;

  uint64_t seed_;
  int64_t n_samples_;
  std::vector<std::vector<int64_t>> members_;  // by class, of those that have any, in the order of labels
  std::vector<Permutation> decks_;             // one per class
  Permutation slots_;
};

}  // namespace lockstep
