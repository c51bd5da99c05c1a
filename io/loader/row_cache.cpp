#include "io/loader/row_cache.h"

#include <algorithm>
#include <utility>

namespace lockstep {

namespace {

constexpr int64_t kBlockBytes = int64_t{256} << 10;
constexpr int64_t kPageBytes = 4096;
static_assert(std::atomic<uint32_t>::is_always_lock_free, "words that processes share need no lock");

int64_t bytes_of_row(const Dataset& dataset, const std::string& field) {
  const Field& stored = dataset.field(field);
  return stored.element().n_elements() * size_of(stored.dtype);
}

/// At least kBlockBytes, and whole chunks, so that each is decoded once.
int64_t rows_of_block(const Dataset& dataset, const std::string& field) {
  const int64_t together = dataset.rows_decoded_together(field);
  const int64_t wanted = std::max<int64_t>(1, kBlockBytes / bytes_of_row(dataset, field));
  return (wanted + together - 1) / together * together;
}

/// Of the words of all blocks, which stand before the rows.
int64_t bytes_of_states(const Dataset& dataset, const std::string& field) {
  const int64_t rows = rows_of_block(dataset, field);
  const int64_t n_blocks = (dataset.n_elements(field) + rows - 1) / rows;
  return (n_blocks * int64_t{sizeof(uint32_t)} + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

int64_t RowCache::n_bytes(const Dataset& dataset, const std::string& field) {
  const int64_t rows_bytes = dataset.n_elements(field) * bytes_of_row(dataset, field);
  return bytes_of_states(dataset, field) + (rows_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

RowCache::RowCache(const Dataset& dataset, std::string field, std::byte* memory)
    : dataset_(&dataset),
      field_(std::move(field)),
      n_rows_(dataset.n_elements(field_)),
      row_bytes_(bytes_of_row(dataset, field_)),
      block_rows_(rows_of_block(dataset, field_)),
      states_(reinterpret_cast<std::atomic<uint32_t>*>(memory)),
      rows_(memory + bytes_of_states(dataset, field_)) {}

bool RowCache::fill(int64_t block) const {
  uint32_t state = kEmpty;
  if (!states_[block].compare_exchange_strong(state, kFilling, std::memory_order_acquire))
    return state == kFull;
  const int64_t first = block * block_rows_;
  try {
    dataset_->read_elements(field_, first, std::min(block_rows_, n_rows_ - first),
                            rows_ + first * row_bytes_);
  } catch (...) {
    states_[block].store(kEmpty, std::memory_order_release);
    throw;
  }
  states_[block].store(kFull, std::memory_order_release);
  return true;
}

}  // namespace lockstep
