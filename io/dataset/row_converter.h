// One sample's numbers as stored -> as the network wants them: float32, normalised per channel, or int32 and
// int64 ids and labels with a range check. Prepared once, then a plain loop per row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "kernels/dtype.h"

namespace lockstep {

class RowConverter {
 public:
  /// From `stored` to float32: dst = (float32(src) - mean) * (1 / stddev), the two roundings
  /// in this order. mean and stddev: empty, one value, one per channel (first dimension
  /// of a stored element, see Field), or one per number of a sample without window and drops. uint8 stays
  /// uint8 where that is asked for. To int32 or int64: whole numbers; with n_classes > 0 within [0,
  /// n_classes). window (C, h, w): of samples (C, H, W) only the pixels in the middle, as torchvision's
  /// CenterCrop. drop_first, drop_last: of the first dimension of a sample only what lies between these.
  /// Throws Error on statistics of another length, stddev <= 0, another target type, a window that is larger
  /// than the samples, or nothing left. A ragged field has rows of one element here; drops are none of its
  /// business.
  RowConverter(const Field& stored, DType target, const std::vector<float>& mean,
               const std::vector<float>& stddev, int64_t n_classes, const std::string& where,
               const Shape& window = {}, int64_t drop_first = 0, int64_t drop_last = 0);

  int64_t src_bytes() const { return src_bytes_; }  // of one row
  int64_t dst_bytes() const { return dst_bytes_; }
  /// True where a whole row is copied as it is.
  bool is_copy() const { return is_copy_ && src_bytes_ == dst_bytes_; }

  /// Converts one row; src needs no alignment. Throws Error naming `dataset_path`, the dataset
  /// row, the position in it and the value where a label is out of range.
  void convert(const std::byte* src, std::byte* dst, int64_t row, const std::string& dataset_path) const {
    convert(src, dst, row, dataset_path, 1, 0);
  }
  /// n rows of one element that belong to sample `row`; the first has the position `first` there.
  void convert(const std::byte* src, std::byte* dst, int64_t row, const std::string& dataset_path, int64_t n,
               int64_t first) const;

 private:
  /// The bytes of the window's pixels, in order.
  const std::byte* windowed(const std::byte* src) const;
  template <typename T>
  void convert_from(const std::byte* src, std::byte* dst, int64_t n, int64_t first, int64_t row,
                    const std::string& path) const;
  template <typename T, typename Id>
  void to_ids(const std::byte* src, std::byte* dst, int64_t n, int64_t first, int64_t row,
              const std::string& path) const;
  [[noreturn]] void refuse(int64_t row, int64_t position, const std::string& value,
                           const std::string& path) const;

  std::string name_;
  DType source_, target_;
  int64_t n_elements_, src_bytes_, dst_bytes_, n_classes_;  // n_elements: numbers of a row as delivered
  bool is_copy_ = false;                                    // of what is delivered
  int64_t skipped_bytes_ = 0, dropped_first_ = 0;
  int64_t n_inner_numbers_ = 1;  // of one index of a sample's first dimension
  bool has_positions_ = false;   // worth telling in an error
  struct Window {
    int64_t n_rows = 0, n_bytes = 0;  // rows of all channels, bytes of each
    int64_t rows_of_channel = 0, channel_bytes = 0, row_bytes = 0, first = 0;  // in a stored sample
  } window_;
  int64_t n_channels_ = 1, n_inner_ = 1;  // n_elements = n_channels * n_inner
  bool per_element_ = false;              // statistics spread to one value per number
  std::vector<float> mean_, scale_;       // empty: no normalisation
};

}  // namespace lockstep
