// The confusion matrix: which classes are taken for which.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

class ConfusionMatrix {
 public:
  struct Cell {
    size_t truth, predicted;
    double count;  // above 0
  };
  ConfusionMatrix() = default;
  /// cells: in row-major order, each once; numbers below the number of classes.
  ConfusionMatrix(double step, std::vector<std::string> classes, std::vector<Cell> cells);

  double step = 0;
  std::vector<std::string> classes;

  size_t n() const { return classes.size(); }
  const std::vector<Cell>& cells() const { return cells_; }
  double at(size_t truth, size_t predicted) const;
  double row_sum(size_t truth) const { return row_sums_[truth]; }
  double column_sum(size_t predicted) const { return column_sums_[predicted]; }
  double recall(size_t c) const;     // correct / samples of class c; NaN without samples
  double precision(size_t c) const;  // correct / predictions of class c; NaN without predictions

  using Pair = Cell;
  /// The `most` largest off-diagonal counts, zero ones left out; ties in row-major order.
  std::vector<Pair> most_confused(size_t most) const;

 private:
  std::vector<Cell> cells_;
  std::vector<double> row_sums_, column_sums_;
};

/// confusion.json: {"step": N, "classes": ["0", …], "matrix": [[…], …]}, or, of many classes, "cells": [[true
/// class, predicted class, count], …] instead of the matrix. Nothing when the file is absent. Throws Error
/// when it is broken, not square, or of another size than the classes.
std::optional<ConfusionMatrix> read_confusion(const std::string& path);

/// Up to this many classes are shown as a table with numbers, more as a picture.
inline constexpr size_t kConfusionTable = 40;

/// A <section>.
std::string confusion_html(const ConfusionMatrix& matrix);

}  // namespace lockstep
