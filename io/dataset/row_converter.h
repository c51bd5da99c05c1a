// One sample's elements as stored -> as the network wants them: float32, normalised per
// channel, or int64 labels with a range check. Prepared once, then a plain loop per row.
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
  /// in this order. mean and stddev: empty, one value, or one per channel (first dimension
  /// of the stored sample). uint8 stays uint8 where that is asked for. To int64: whole numbers; with
  /// n_classes > 0 within [0, n_classes). window (C, h, w): of samples (C, H, W) only the pixels in the
  /// middle, as torchvision's CenterCrop. Throws Error on statistics of another length, stddev <= 0, another
  /// target type, or a window that is larger than the samples.
  RowConverter(const Field& stored, DType target, const std::vector<float>& mean,
               const std::vector<float>& stddev, int64_t n_classes, const std::string& where,
               const Shape& window = {});

  int64_t src_bytes() const { return src_bytes_; }  // of one row
  int64_t dst_bytes() const { return dst_bytes_; }
  /// True where a row is copied as it is.
  bool is_copy() const { return is_copy_; }

  /// Converts one row; src needs no alignment. Throws Error naming `dataset_path`, the dataset
  /// row and the value where a label is out of range.
  void convert(const std::byte* src, std::byte* dst, int64_t row, const std::string& dataset_path) const;

 private:
  /// The bytes of the window's pixels, in order.
  const std::byte* windowed(const std::byte* src) const;
  template <typename T>
  void convert_from(const std::byte* src, std::byte* dst, int64_t row, const std::string& path) const;
  [[noreturn]] void refuse(int64_t row, const std::string& value, const std::string& path) const;

  std::string name_;
  DType source_, target_;
  int64_t n_elements_, src_bytes_, dst_bytes_, n_classes_;
  bool is_copy_ = false;
  struct Window {
    int64_t n_rows = 0, n_bytes = 0;  // rows of all channels, bytes of each
    int64_t rows_of_channel = 0, channel_bytes = 0, row_bytes = 0, first = 0;  // in a stored sample
  } window_;
  int64_t n_channels_ = 1, n_inner_ = 1;  // n_elements = n_channels * n_inner
  bool per_element_ = false;              // statistics spread to one value per element
  std::vector<float> mean_, scale_;       // empty: no normalisation
};

}  // namespace lockstep
