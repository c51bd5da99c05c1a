// One field's elements in memory, as stored (rows, unless it is ragged or cut into windows: then what these
// consist of, so that windows that overlap cost nothing), filled block by block when one of a block is first
// wanted. A word per block says how far it is; threads, and ranks that share the memory, agree by it alone:
// whoever turns it from empty to filling fills the block, all others read their rows from the file meanwhile.
// Nobody ever waits, so that a rank which dies while it fills a block holds up no other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "io/dataset/dataset.h"

namespace lockstep {

class RowCache {
 public:
  /// Bytes of memory that the cache of a field takes.
  static int64_t n_bytes(const Dataset& dataset, const std::string& field);
  /// `memory` of n_bytes(), aligned to 64 bytes, zero when the first rank or thread sees it, the same for all
  /// who share it. Dataset and memory must outlive the cache.
  RowCache(const Dataset& dataset, std::string field, std::byte* memory);

  /// Where elements [first, first + count) lie; null while somebody else fills a block of them: read them
  /// from the dataset then. Fills the blocks where nobody has. count >= 1. Throws Error if the dataset cannot
  /// be read (and the block stays empty).
  const std::byte* find(int64_t first, int64_t count = 1) const {
    for (int64_t block = first / block_rows_; block * block_rows_ < first + count; ++block)
      if (states_[block].load(std::memory_order_acquire) != kFull && !fill(block)) return nullptr;
    return rows_ + first * row_bytes_;
  }
  /// Where element `first` lies or will lie.
  const std::byte* place(int64_t first) const { return rows_ + first * row_bytes_; }

 private:
  enum State : uint32_t { kEmpty, kFilling, kFull };
  bool fill(int64_t block) const;

  const Dataset* dataset_;
  std::string field_;
  int64_t n_rows_, row_bytes_, block_rows_;  // rows: of elements
  std::atomic<uint32_t>* states_;
  std::byte* rows_;
};

}  // namespace lockstep
