// Reading by sorted runs: neighbouring samples share one read, small gaps are read through,
// because a call costs more than a few KiB. Rows then go to their places one by one.
#include "io/loader/row_source.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace lockstep {

namespace {
constexpr int64_t kStagingBytes = int64_t{1} << 20;
constexpr int64_t kMaxGapBytes = int64_t{4} << 10;
constexpr size_t kPrefetchRows = 4;
constexpr int64_t kPrefetchBytes = 512;

/// Shuffled rows are cache misses, whose beginnings the hardware cannot guess.
void prefetch(const std::byte* row, int64_t n_bytes) {
  for (int64_t at = 0; at < std::min(n_bytes, kPrefetchBytes); at += 64) __builtin_prefetch(row + at);
}
}  // namespace

RowSource::RowSource(const Dataset& dataset, const std::string& field, RowConverter converter,
                     std::optional<RowCache> cache, int64_t micro_batch, bool in_blocks)
    : dataset_(&dataset),
      index_(dataset.index_of(field)),
      spans_(&dataset.row_spans(field)),
      converter_(std::move(converter)),
      cache_(std::move(cache)),
      in_blocks_(in_blocks && !cache_ && dataset.rows_of_block(field) > 1) {
  if (cache_) return;
  const int64_t row_bytes = converter_.src_bytes();
  staging_rows_ = std::max<int64_t>(1, std::min(micro_batch * 2, kStagingBytes / row_bytes));
  max_gap_rows_ = kMaxGapBytes / row_bytes;
}

void RowSource::gather(const RowRequest* requests, int64_t count, std::byte* dst, std::byte* staging) const {
  if (cache_) {
    gather_cached(requests, count, dst, staging);
  } else if (in_blocks_) {
    gather_blocks(requests, count, dst, staging);
  } else {
    gather_runs(requests, count, dst, staging);
  }
}

void RowSource::gather_cached(const RowRequest* requests, int64_t count, std::byte* dst,
                              std::byte* staging) const {
  const int64_t dst_bytes = converter_.dst_bytes();
  for (int64_t i = 0; i < count; ++i) {
    const auto [id, row] = requests[i];
    const RowSpan span = spans_->of(id);
    const std::byte* src = cache_->find(span.first, span.count);
    const int64_t next = i + int64_t{kPrefetchRows};
    if (next < count) prefetch(cache_->place(spans_->of(requests[next].id).first), converter_.src_bytes());
    if (!src) {
      dataset_->read(index_, id, 1, staging);
      src = staging;
    }
    converter_.convert(src, dst + row * dst_bytes, spans_->stored_row(id), dataset_->path());
  }
}

void RowSource::gather_blocks(const RowRequest* sorted, int64_t count, std::byte* dst,
                              std::byte* staging) const {
  const int64_t dst_bytes = converter_.dst_bytes();
  std::array<std::shared_ptr<const std::byte>, kPrefetchRows> ahead;
  const auto fetch = [&](int64_t i) {
    auto& row = ahead[static_cast<size_t>(i) % kPrefetchRows];
    row = dataset_->row_of_block(index_, sorted[i].id);
    if (row) prefetch(row.get(), converter_.src_bytes());
  };
  for (int64_t i = 0; i < std::min(count, int64_t{kPrefetchRows}); ++i) fetch(i);
  for (int64_t i = 0; i < count; ++i) {
    const auto row = std::move(ahead[static_cast<size_t>(i) % kPrefetchRows]);
    if (i + int64_t{kPrefetchRows} < count) fetch(i + int64_t{kPrefetchRows});
    if (!row) dataset_->read(index_, sorted[i].id, 1, staging);
    converter_.convert(row ? row.get() : staging, dst + sorted[i].row * dst_bytes,
                       spans_->stored_row(sorted[i].id), dataset_->path());
  }
}

void RowSource::gather_runs(const RowRequest* sorted, int64_t count, std::byte* dst,
                            std::byte* staging) const {
  const int64_t src_bytes = converter_.src_bytes(), dst_bytes = converter_.dst_bytes();
  for (int64_t begin = 0, end; begin < count; begin = end) {
    const int64_t first = sorted[begin].id;
    bool in_place = converter_.is_copy();  // consecutive samples for consecutive rows
    for (end = begin + 1; end < count; ++end) {
      const bool follows =
          sorted[end].id == sorted[end - 1].id + 1 && sorted[end].row == sorted[end - 1].row + 1;
      if (in_place && follows) continue;
      if (in_place && end - begin > 1) break;  // read what is in place so far without staging
      if (sorted[end].id - sorted[end - 1].id - 1 > max_gap_rows_) break;
      if (sorted[end].id - first >= staging_rows_) break;
      in_place = false;
    }
    if (in_place) {
      dataset_->read(index_, first, end - begin, dst + sorted[begin].row * dst_bytes);
      continue;
    }
    dataset_->read(index_, first, sorted[end - 1].id - first + 1, staging);
    for (int64_t i = begin; i < end; ++i) {
      converter_.convert(staging + (sorted[i].id - first) * src_bytes, dst + sorted[i].row * dst_bytes,
                         spans_->stored_row(sorted[i].id), dataset_->path());
    }
  }
}

}  // namespace lockstep
