// The confusion matrix: which classes are taken for which.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

struct ConfusionMatrix {
  double step = 0;
  std::vector<std::string> classes;
  std::vector<double> counts;  // (true class, predicted class), row-major

  size_t n() const { return classes.size(); }
  double at(size_t truth, size_t predicted) const { return counts[truth * n() + predicted]; }
  double row_sum(size_t truth) const;
  double column_sum(size_t predicted) const;
  double recall(size_t c) const;     // correct / samples of class c; NaN without samples
  double precision(size_t c) const;  // correct / predictions of class c; NaN without predictions

  struct Pair {
    size_t truth, predicted;
    double count;
  };
  /// The `most` largest off-diagonal counts, zero ones left out; ties in row-major order.
  std::vector<Pair> most_confused(size_t most) const;
};

/// confusion.json: {"step": N, "classes": ["0", …], "matrix": [[…], …]}. Nothing when the file
/// is absent. Throws Error when it is broken, not square, or of another size than the classes.
std::optional<ConfusionMatrix> read_confusion(const std::string& path);

/// Up to this many classes are shown as a table with numbers, more as a picture.
inline constexpr size_t kConfusionTable = 40;

/// A <section>.
std::string confusion_html(const ConfusionMatrix& matrix);

}  // namespace lockstep
