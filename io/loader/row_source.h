// Gathers one field's rows of a micro-batch: given sample ids, fills the converted rows. From the cache where
// there is one; else from blocks in memory or as sorted runs of ids. Any number of threads at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/dataset/row_converter.h"
#include "io/loader/row_cache.h"

namespace lockstep {

/// A micro-batch row and the sample it holds, sorted by sample for reading.
struct RowRequest {
  int64_t id = 0, row = 0;
};

class RowSource {
 public:
  /// `cache`: of the field, or nothing. micro_batch: most rows asked for at a time. in_blocks: small rows
  /// come with their neighbours (Dataset::row_of_block).
  RowSource(const Dataset& dataset, const std::string& field, RowConverter converter,
            std::optional<RowCache> cache, int64_t micro_batch, bool in_blocks = false);

  /// Bytes of staging memory that gather() needs, of each thread its own.
  int64_t staging_bytes() const { return staging_rows_ * converter_.src_bytes(); }
  /// dst + r.row * dst_bytes = converted sample r.id, for all r. Requests ascend by id unless
  /// the source is cached. Throws Error of the dataset or the converter.
  void gather(const RowRequest* requests, int64_t count, std::byte* dst, std::byte* staging) const;

  const RowConverter& converter() const { return converter_; }

 private:
  void gather_cached(const RowRequest* requests, int64_t count, std::byte* dst, std::byte* staging) const;
  void gather_blocks(const RowRequest* sorted, int64_t count, std::byte* dst, std::byte* staging) const;
  void gather_runs(const RowRequest* sorted, int64_t count, std::byte* dst, std::byte* staging) const;

  const Dataset* dataset_;
  size_t index_;  // of the field
  const RowSpans* spans_;
  RowConverter converter_;
  std::optional<RowCache> cache_;
  bool in_blocks_ = false;
  int64_t staging_rows_ = 1;
  int64_t max_gap_rows_ = 0;  // unwanted rows worth reading to save a call
};

}  // namespace lockstep
