// Rows of unequal lengths, grouped so that a micro-batch is padded little. A function of the dataset and the
// fields alone, so that all ranks agree on it without a word.
#pragma once

#include <cstdint>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/loader/loader_field.h"

namespace lockstep {

class LengthBuckets {
 public:
  static constexpr int kMost = 16;  // each costs a plan

  /// No field is ragged: one bucket.
  LengthBuckets() = default;
  /// by_length: rows are grouped by the length of the first ragged field (as delivered), with the bounds that
  /// leave the least padding among at most kMost buckets; else one bucket holds all. `dataset` must outlive
  /// the buckets. Throws Error where rows are to be grouped and no field is ragged.
  LengthBuckets(const Dataset& dataset, const std::vector<LoaderField>& fields, bool by_length);

  int n_buckets() const { return static_cast<int>(bounds_.size()); }
  /// [bucket][field]: the length that this field's rows are padded to, at least 1: the largest in this bucket
  /// and those below, so that rows of several buckets fit the largest of theirs. 0 for fields that are not
  /// ragged.
  const std::vector<std::vector<int64_t>>& extents() const { return extents_; }
  /// The bucket of a dataset's row.
  int bucket_of(int64_t row) const;

  /// By length: the rows one bucket after the other, in their order within each. Bucket b is positions
  /// [begin(b), begin(b + 1)).
  int64_t begin(int bucket) const { return begins_[static_cast<size_t>(bucket)]; }
  int64_t row_at(int64_t position) const { return rows_[static_cast<size_t>(position)]; }

 private:
  const std::vector<int32_t>* lengths_ = nullptr;  // of the field that decides
  LoaderField decides_;
  std::vector<int64_t> bounds_ = {0};  // largest delivered length of each bucket; of the last: any
  std::vector<std::vector<int64_t>> extents_;
  std::vector<int64_t> begins_, rows_;
};

}  // namespace lockstep
