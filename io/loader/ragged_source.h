// Gathers a ragged field's rows of a micro-batch, padded to one length, or only their lengths. Any number of
// threads at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "io/dataset/dataset.h"
#include "io/dataset/row_converter.h"
#include "io/loader/loader_field.h"
#include "io/loader/row_cache.h"
#include "io/loader/row_source.h"

namespace lockstep {

class RaggedSource {
 public:
  /// longest: the largest extent that gather() is asked for; 0 for lengths. `cache`: of the field, or
  /// nothing.
  RaggedSource(const Dataset& dataset, const LoaderField& wanted, std::optional<RowCache> cache,
               int64_t longest);

  /// Bytes of staging memory that gather() needs, of each thread its own.
  int64_t staging_bytes() const { return longest_ * converter_.src_bytes(); }
  int64_t element_bytes() const { return converter_.dst_bytes(); }
  int64_t longest() const { return longest_; }

  /// Lengths: dst is int32 (n_rows). Else (n_rows, extent, element…): row r.row holds sample r.id and padding
  /// behind it. Requests name the first rows, in any order; the others hold padding alone, and length 0.
  /// Throws Error of the dataset or the converter.
  void gather(std::span<const RowRequest> requests, int64_t n_rows, int64_t extent, std::byte* dst,
              std::byte* staging) const;

 private:
  void pad(std::byte* dst, int64_t n_elements) const;

  const Dataset* dataset_;
  LoaderField wanted_;
  const RowSpans* spans_;
  RowConverter converter_;
  std::optional<RowCache> cache_;
  int64_t longest_;
};

}  // namespace lockstep
