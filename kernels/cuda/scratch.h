// Parts of a scratchpad side by side, each aligned to 256 bytes.
#pragma once

#include <cstdint>

namespace lockstep::cuda {

class Scratch {
 public:
  /// Offset of the next `n_bytes`.
  int64_t take(int64_t n_bytes) {
    const int64_t offset = n_bytes_;
    n_bytes_ += (n_bytes + 255) / 256 * 256;
    return offset;
  }
  int64_t n_bytes() const { return n_bytes_; }

 private:
  int64_t n_bytes_ = 0;
};

}  // namespace lockstep::cuda
