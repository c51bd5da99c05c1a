// NumPy's .npy (versions 1 to 3; numpy.lib.format): a magic number, a Python dictionary as text, then the
// elements, row by row or, as many pandas tables are saved, column by column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/files/gzip.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

class NpyFile {
 public:
  /// `name` is what errors show, where it differs from the path (an array of an archive). Throws Error: no
  /// .npy file of numbers with at least one dimension, cut short, or of a type without a place here (objects,
  /// text, complex numbers).
  explicit NpyFile(const std::string& path, const std::string& name = {});

  const std::string& name() const { return file_.name(); }
  int64_t n_rows() const { return n_rows_; }
  const Shape& shape() const { return shape_; }  // of one row
  /// Of what read_row() gives: uint8, int32, int64, float32 or float64; no value changes.
  DType dtype() const { return dtype_; }

  /// One row, (shape()) of dtype(). Throws Error where a value is not finite or beyond int64.
  void read_row(int64_t row, std::byte* dst);

 private:
  void parse_header(const std::string& header);

  InputFile file_;
  char kind_ = 'f';      // numpy's: b u i f
  int64_t n_bytes_ = 0;  // of an element
  bool swaps_ = false, by_columns_ = false;
  int64_t n_rows_ = 0, begin_ = 0;
  Shape shape_;
  DType dtype_ = DType::kFloat32;
  std::vector<unsigned char> row_, all_;  // all_: the file's elements, where they lie by columns
};

}  // namespace lockstep
