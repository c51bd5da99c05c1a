// One array of a micro-batch: which field of the dataset it comes from, and as what. Two may come from the
// same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "io/loader/token_mask.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

struct LoaderField {
  std::string name;  // field of the dataset
  /// Converted to: float32 (inputs), int64 (labels), int32 (ids); uint8 stored so: as it is.
  DType dtype = DType::kFloat32;
  Shape shape;  // of one sample as delivered: as many numbers as stored or as what is taken of it; of a
                // ragged field: of one element; of lengths: no dimensions
  /// Subtracted and divided per channel (first dimension of a stored element, Field::element) after
  /// conversion to float32; empty: as stored. Size 1 applies to all elements.
  std::vector<float> mean, stddev;
  /// int64 labels and int32 ids must lie in [0, n_classes) where n_classes > 0. Throws Error naming the
  /// dataset row and value.
  int64_t n_classes = 0;
  Shape window;  // (C, h, w): of samples (C, H, W) only the pixels in the middle; no dimensions: all
  /// Of the first dimension of a sample, or of a ragged row, only elements [drop_first, extent - drop_last).
  /// So input (drop_last 1) and target (drop_first 1) are two views of one row.
  int64_t drop_first = 0, drop_last = 0;
  int64_t max_length = 0;     // ragged rows are cut to so many elements before these are dropped; 0: never
  int64_t padding = 0;        // behind the ends of ragged rows
  TokenMask mask = {};        // of ids: which the network is to guess
  bool lengths_only = false;  // deliver the rows' lengths after all of this, int32 (M), 0 for padding rows
};

/// Elements that are delivered of a row of so many.
inline int64_t delivered_length(const LoaderField& field, int64_t row_length) {
  if (field.max_length > 0) row_length = std::min(row_length, field.max_length);
  return std::max<int64_t>(0, row_length - field.drop_first - field.drop_last);
}

}  // namespace lockstep
