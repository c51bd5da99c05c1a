// Reading by sorted runs: neighbouring samples share one read, small gaps are read through,
// because a call costs more than a few KiB. Rows then go to their places one by one.
#include "io/row_source.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "kernels/error.h"

namespace lockstep {

namespace {
constexpr size_t kAlignment = 64;
constexpr int64_t kStagingBytes = int64_t{1} << 20;
constexpr int64_t kMaxGapBytes = int64_t{4} << 10;
constexpr int64_t kBlockBytes = int64_t{256} << 10;
constexpr int64_t kPrefetchRows = 4, kPrefetchBytes = 512;

/// Shuffled rows miss the TLB: large pages made gathering of 784-byte rows a fifth faster.
/// Only a hint; where the system refuses, nothing changes.
void prefer_huge_pages(std::byte* data, int64_t n_bytes) {
  constexpr uintptr_t kPage = 4096, kHugePage = 2 << 20;
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(n_bytes)) / kPage * kPage;
  if (end > begin + kHugePage) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
}  // namespace

void AlignedDelete::operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }

AlignedArray aligned_array(int64_t n_bytes) {
  const auto n = (static_cast<size_t>(n_bytes) + kAlignment - 1) / kAlignment * kAlignment;
  void* p = ::operator new[](std::max(n, kAlignment), std::align_val_t{kAlignment}, std::nothrow);
  if (!p)
    throw Error("data loader", "not enough memory for a buffer of " + std::to_string(n) + " bytes",
                "lower batch.micro, data.prefetch or data.cache_limit");
  return AlignedArray(static_cast<std::byte*>(p));
}

RowSource::RowSource(const Dataset& dataset, std::string field, RowConverter converter, bool cached,
                     int64_t micro_batch)
    : dataset_(&dataset), field_(std::move(field)), converter_(std::move(converter)), cached_(cached) {
  const int64_t row_bytes = converter_.src_bytes();
  if (cached) {
    block_rows_ = std::max<int64_t>(1, kBlockBytes / row_bytes);
    block_read_.assign(static_cast<size_t>((dataset.n_samples() + block_rows_ - 1) / block_rows_), 0);
    rows_ = aligned_array(dataset.n_samples() * row_bytes);
    prefer_huge_pages(rows_.get(), dataset.n_samples() * row_bytes);
  } else {
    staging_rows_ = std::max<int64_t>(1, std::min(micro_batch * 2, kStagingBytes / row_bytes));
    max_gap_rows_ = kMaxGapBytes / row_bytes;
    rows_ = aligned_array(staging_rows_ * row_bytes);
  }
}

void RowSource::gather(const RowRequest* requests, int64_t count, std::byte* dst) {
  if (cached_) {
    gather_cached(requests, count, dst);
  } else {
    gather_runs(requests, count, dst);
  }
}

void RowSource::read_block(int64_t block) {
  const int64_t first = block * block_rows_;
  const int64_t n = std::min(block_rows_, dataset_->n_samples() - first);
  dataset_->read(field_, first, n, rows_.get() + first * converter_.src_bytes());
  block_read_[static_cast<size_t>(block)] = 1;
}

void RowSource::gather_cached(const RowRequest* requests, int64_t count, std::byte* dst) {
  const int64_t src_bytes = converter_.src_bytes(), dst_bytes = converter_.dst_bytes();
  const int64_t n_prefetched_bytes = std::min(src_bytes, kPrefetchBytes);
  for (int64_t i = 0; i < count; ++i) {
    const auto [id, row] = requests[i];
    if (const int64_t block = id / block_rows_; !block_read_[static_cast<size_t>(block)]) read_block(block);
    if (i + kPrefetchRows < count) {  // shuffled rows are cache misses; the hardware cannot guess them
      const std::byte* ahead = rows_.get() + requests[i + kPrefetchRows].id * src_bytes;
      for (int64_t at = 0; at < n_prefetched_bytes; at += 64) __builtin_prefetch(ahead + at);
    }
    converter_.convert(rows_.get() + id * src_bytes, dst + row * dst_bytes, id, dataset_->path());
  }
}

void RowSource::gather_runs(const RowRequest* sorted, int64_t count, std::byte* dst) {
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
      dataset_->read(field_, first, end - begin, dst + sorted[begin].row * dst_bytes);
      continue;
    }
    dataset_->read(field_, first, sorted[end - 1].id - first + 1, rows_.get());
    for (int64_t i = begin; i < end; ++i) {
      converter_.convert(rows_.get() + (sorted[i].id - first) * src_bytes, dst + sorted[i].row * dst_bytes,
                         sorted[i].id, dataset_->path());
    }
  }
}

}  // namespace lockstep
