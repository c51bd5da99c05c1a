// Where the rows of a field lie among its elements, which the shards hold one after the other: each row is
// one element (images, labels), all are windows of one flat stream, or rows have lengths of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace lockstep {

struct RowSpan {
  int64_t first = 0, count = 1;  // elements
};

class RowSpans {
 public:
  /// Row i is element i.
  RowSpans() = default;
  /// Row i is elements [i * stride, i * stride + count).
  RowSpans(int64_t stride, int64_t count) : stride_(stride), count_(count) {}
  /// Row i is lengths[i] >= 0 elements behind those of the rows before it.
  explicit RowSpans(std::vector<int32_t> lengths) : lengths_(std::move(lengths)), is_ragged_(true) {
    for (int64_t row = 0, begin = 0; row < n_rows(); ++row) {
      if (row % kBlock == 0) begins_.push_back(begin);
      begin += lengths_[static_cast<size_t>(row)];
      longest_ = std::max<int64_t>(longest_, lengths_[static_cast<size_t>(row)]);
    }
  }

  /// Of the rows that `rows` names, in that order; each below the number of rows of `all`.
  RowSpans(const RowSpans& all, std::shared_ptr<const std::vector<int64_t>> rows) : RowSpans(all) {
    selected_lengths_.clear();
    for (const int64_t row : *rows)
      if (is_ragged_) selected_lengths_.push_back(lengths_[static_cast<size_t>(all.stored_row(row))]);
    if (rows_) {
      std::vector<int64_t> composed;
      for (const int64_t row : *rows) composed.push_back(all.stored_row(row));
      rows = std::make_shared<const std::vector<int64_t>>(std::move(composed));
    }
    longest_ = 0;
    for (const int32_t length : selected_lengths_) longest_ = std::max<int64_t>(longest_, length);
    rows_ = std::move(rows);
  }

  RowSpan of(int64_t row) const {
    row = stored_row(row);
    if (!is_ragged_) return {row * stride_, count_};
    int64_t first = begins_[static_cast<size_t>(row / kBlock)];
    for (int64_t before = row / kBlock * kBlock; before < row; ++before)
      first += lengths_[static_cast<size_t>(before)];
    return {first, lengths_[static_cast<size_t>(row)]};
  }
  /// The row's number where all rows are counted.
  int64_t stored_row(int64_t row) const { return rows_ ? (*rows_)[static_cast<size_t>(row)] : row; }
  /// Whether row i is element i.
  bool is_identity() const { return !rows_ && !is_ragged_ && stride_ == 1 && count_ == 1; }
  bool is_ragged() const { return is_ragged_; }
  /// Elements of the longest row.
  int64_t longest() const { return is_ragged_ ? longest_ : count_; }
  /// One per row of a ragged field; else none.
  const std::vector<int32_t>& lengths() const { return rows_ ? selected_lengths_ : lengths_; }

 private:
  static constexpr int64_t kBlock = 64;  // rows; the first element of each block is kept
  int64_t n_rows() const { return static_cast<int64_t>(lengths_.size()); }

  int64_t stride_ = 1, count_ = 1, longest_ = 0;
  std::vector<int32_t> lengths_;
  std::vector<int64_t> begins_;
  std::shared_ptr<const std::vector<int64_t>> rows_;  // null: all
  std::vector<int32_t> selected_lengths_;             // of those, where rows have lengths
  bool is_ragged_ = false;
};

}  // namespace lockstep
