// Gathers one field's rows of a micro-batch: given sample ids, fills the converted rows.
// Small datasets are kept in memory as stored, read block by block when first touched; of
// others, the ids are read as sorted runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/dataset.h"
#include "io/row_converter.h"

namespace lockstep {

/// Frees what aligned_array() made.
struct AlignedDelete {
  void operator()(std::byte* p) const;
};
using AlignedArray = std::unique_ptr<std::byte[], AlignedDelete>;
/// n_bytes, not initialised (fresh pages from the system are zero and not yet resident),
/// 64-byte aligned, rounded up to a multiple of 64. Throws Error when there is no memory.
AlignedArray aligned_array(int64_t n_bytes);

/// A micro-batch row and the sample it holds, sorted by sample for reading.
struct RowRequest {
  int64_t id = 0, row = 0;
};

class RowSource {
 public:
  /// `cached`: keep all rows in memory. micro_batch: most rows asked for at a time.
  RowSource(const Dataset& dataset, std::string field, RowConverter converter, bool cached,
            int64_t micro_batch);

  /// dst + r.row * dst_bytes = converted sample r.id, for all r. Requests ascend by id unless
  /// the source is cached. Throws Error of the dataset or the converter.
  void gather(const RowRequest* requests, int64_t count, std::byte* dst);

  const RowConverter& converter() const { return converter_; }

 private:
  void gather_cached(const RowRequest* requests, int64_t count, std::byte* dst);
  void read_block(int64_t block);
  void gather_runs(const RowRequest* sorted, int64_t count, std::byte* dst);

  const Dataset* dataset_;
  std::string field_;
  RowConverter converter_;
  AlignedArray rows_;  // the whole field, or staging for one run
  int64_t staging_rows_ = 0;
  int64_t max_gap_rows_ = 0;  // unwanted rows worth reading to save a call
  bool cached_;
  int64_t block_rows_ = 0;
  std::vector<uint8_t> block_read_;
};

}  // namespace lockstep
