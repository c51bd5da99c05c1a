// IDX, the format of MNIST (LeCun, Cortes, Burges, "The MNIST database of handwritten digits"):
// two zero bytes, a type code, the number of dimensions, big-endian int32 extents, then
// big-endian elements. Sizes are checked against the file before anything is read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/files/gzip.h"
#include "kernels/shape.h"

namespace lockstep {

enum IdxType : uint8_t {
  kIdxU8 = 0x08,
  kIdxI8 = 0x09,
  kIdxI16 = 0x0B,
  kIdxI32 = 0x0C,
  kIdxF32 = 0x0D,
  kIdxF64 = 0x0E
};

/// Bytes of one element; 0 for a code that is no type.
int64_t idx_element_bytes(uint8_t type);
/// The element that begins at `bytes`.
double idx_element(uint8_t type, const unsigned char* bytes);

class IdxFile {
 public:
  /// Opens `path`, which errors call `name`. Throws Error: no IDX file of 1 to 4 dimensions, no rows, or
  /// another size than the header promises.
  IdxFile(const std::string& path, const std::string& name);

  int64_t n_rows() const { return n_rows_; }
  uint8_t type() const { return type_; }
  const Shape& shape() const { return shape_; }  // of one row

  /// Calls visit(i, bytes) with the raw elements of each of the rows.
  template <typename Visit>
  void for_each_row(std::span<const int64_t> rows, const Visit& visit) {
    for (size_t first = 0; first < rows.size();) {
      size_t last = first + 1;  // a run of neighbours is one read
      while (last < rows.size() && rows[last] == rows[last - 1] + 1) ++last;
      buffer_.resize((last - first) * row_bytes_);
      file_.read(header_bytes_ + rows[first] * row_bytes_, buffer_.data(),
                 static_cast<int64_t>(buffer_.size()));
      for (size_t i = first; i < last; ++i) visit(i, buffer_.data() + (i - first) * row_bytes_);
      first = last;
    }
  }

 private:
  InputFile file_;
  uint8_t type_ = 0;
  int64_t header_bytes_ = 0, n_rows_ = 0, row_bytes_ = 0;
  Shape shape_;
  std::vector<unsigned char> buffer_;
};

}  // namespace lockstep
