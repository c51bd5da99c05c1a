// What is done to rows on their way out of a dataset that stores them otherwise: images with the channels
// last, packed numbers and missing values of netCDF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/dataset/dataset.h"

namespace lockstep {

class RowTransform {
 public:
  RowTransform() = default;
  /// `channels_last`: samples are (H, W, C) and become (C, H, W); others than of rank 3 stay.
  RowTransform(const Field& stored, const Dataset::Traits& traits, bool channels_last);

  /// Whether rows pass as they are.
  bool is_identity() const { return !unpacks_ && !checks_missing_ && !channels_last_; }
  /// The field as it comes out; packed numbers are float32.
  const Field& delivered() const { return delivered_; }
  int64_t src_bytes() const { return src_bytes_; }  // of one row
  int64_t dst_bytes() const { return dst_bytes_; }

  /// n rows from src to dst, which do not overlap. Throws Error naming the row of a missing value: `where`
  /// and first_row, the number of the first one.
  void apply(const std::byte* src, std::byte* dst, int64_t n, int64_t first_row,
             const std::string& where) const;

 private:
  template <typename T>
  void unpack(const std::byte* src, float* dst, int64_t n_elements) const;
  template <typename T>
  int64_t find_missing(const std::byte* src, int64_t n_elements) const;

  Field stored_, delivered_;
  Dataset::Traits traits_;
  bool unpacks_ = false, checks_missing_ = false, channels_last_ = false;
  int64_t src_bytes_ = 0, dst_bytes_ = 0;
};

}  // namespace lockstep
