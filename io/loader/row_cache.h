// One field's rows in memory, as stored, filled block by block when a row of a block is first wanted. A word
// per block says how far it is; threads, and ranks that share the memory, agree by it alone: whoever turns
// it from empty to filling fills the block, all others read their rows from the file meanwhile. Nobody
// ever waits, so that a rank which dies while it fills a block holds up no other.
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

  /// Where sample `id` lies; null while somebody else fills its block: read it from the dataset then. Fills
  /// the block where nobody has. Throws Error if the dataset cannot be read (and the block stays empty).
  const std::byte* find(int64_t id) const {
    const int64_t block = id / block_rows_;
    if (states_[block].load(std::memory_order_acquire) != kFull && !fill(block)) return nullptr;
    return rows_ + id * row_bytes_;
  }
  /// Where sample `id` lies or will lie.
  const std::byte* place(int64_t id) const { return rows_ + id * row_bytes_; }

 private:
  enum State : uint32_t { kEmpty, kFilling, kFull };
  bool fill(int64_t block) const;

  const Dataset* dataset_;
  std::string field_;
  int64_t row_bytes_, block_rows_;
  std::atomic<uint32_t>* states_;
  std::byte* rows_;
};

}  // namespace lockstep
