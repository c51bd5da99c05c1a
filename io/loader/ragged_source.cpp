// Rows go to their places one by one; what is behind the end of a row is padding.
#include "io/loader/ragged_source.h"

#include <cassert>
#include <cstring>
#include <utility>

namespace lockstep {

namespace {

template <typename T>
void fill_padding(std::byte* dst, int64_t n, int64_t padding) {
  const auto value = static_cast<T>(padding);
  for (int64_t i = 0; i < n; ++i)
    std::memcpy(dst + i * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

/// Of lengths no element is converted.
RowConverter converter_of(const Dataset& dataset, const LoaderField& wanted) {
  const Field& stored = dataset.field(wanted.name);
  if (wanted.lengths_only)
    return {{stored.name, DType::kInt32, {}}, DType::kInt32, {}, {}, 0, dataset.path()};
  return {stored, wanted.dtype, wanted.mean, wanted.stddev, wanted.n_classes, dataset.path()};
}

}  // namespace

RaggedSource::RaggedSource(const Dataset& dataset, const LoaderField& wanted, std::optional<RowCache> cache,
                           int64_t longest)
    : dataset_(&dataset),
      wanted_(wanted),
      spans_(&dataset.row_spans(wanted.name)),
      converter_(converter_of(dataset, wanted)),
      cache_(std::move(cache)),
      longest_(longest) {}

void RaggedSource::pad(std::byte* dst, int64_t n_elements) const {
  const int64_t n_bytes = n_elements * converter_.dst_bytes(), n = n_bytes / size_of(wanted_.dtype);
  if (wanted_.padding == 0) {
    std::memset(dst, 0, static_cast<size_t>(n_bytes));
    return;
  }
  switch (wanted_.dtype) {
    case DType::kUInt8: return fill_padding<uint8_t>(dst, n, wanted_.padding);
    case DType::kInt32: return fill_padding<int32_t>(dst, n, wanted_.padding);
    case DType::kInt64: return fill_padding<int64_t>(dst, n, wanted_.padding);
    default: return fill_padding<float>(dst, n, wanted_.padding);
  }
}

void RaggedSource::gather(std::span<const RowRequest> requests, int64_t n_rows, int64_t extent,
                          std::byte* dst, std::byte* staging) const {
  const auto n_requests = static_cast<int64_t>(requests.size());
  if (wanted_.lengths_only) {
    fill_padding<int32_t>(dst, n_rows, 0);
    for (const RowRequest& request : requests) {
      const auto length = static_cast<int32_t>(delivered_length(wanted_, spans_->of(request.id).count));
      std::memcpy(dst + request.row * static_cast<int64_t>(sizeof length), &length, sizeof length);
    }
    return;
  }
  const int64_t row_bytes = extent * converter_.dst_bytes();
  for (const RowRequest& request : requests) {
    const RowSpan span = spans_->of(request.id);
    const int64_t n = delivered_length(wanted_, span.count);
    assert(n <= extent);  // as the buckets say
    const int64_t first = span.first + wanted_.drop_first;
    std::byte* const row = dst + request.row * row_bytes;
    const std::byte* src = cache_ && n > 0 ? cache_->find(first, n) : nullptr;
    if (!src && n > 0) {
      dataset_->read_elements(wanted_.name, first, n, staging);
      src = staging;
    }
    if (n > 0)
      converter_.convert(src, row, spans_->stored_row(request.id), dataset_->path(), n, wanted_.drop_first);
    pad(row + n * converter_.dst_bytes(), extent - n);
  }
  // Requests name the rows from 0 on.
  pad(dst + n_requests * row_bytes, (n_rows - n_requests) * extent);
}

}  // namespace lockstep
