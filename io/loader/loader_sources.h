// Where a loader's fields come from: the cache, shared by the ranks of a host, or the files.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "io/files/node_memory.h"
#include "io/loader/loader.h"
#include "io/loader/ragged_source.h"
#include "io/loader/row_source.h"

namespace lockstep {

/// Throws Error where the options do not fit each other or the dataset.
void check_loader(const Dataset& dataset, const LoaderOptions& options, int64_t start_step);

/// Of one field: rows that are all alike, or ragged ones.
class FieldSource {
 public:
  explicit FieldSource(RowSource rows) : source_(std::move(rows)) {}
  explicit FieldSource(RaggedSource rows) : source_(std::move(rows)) {}

  /// Bytes of a row of a micro-batch that is padded to the largest length.
  int64_t most_row_bytes() const;
  int64_t staging_bytes() const;
  /// Fills (micro_batch, …): the requested samples in the first rows, and behind them zeros, or the padding
  /// of a ragged field. extent: the length that its rows get.
  void fill(std::span<const RowRequest> requests, int64_t micro_batch, int64_t extent, std::byte* dst,
            std::byte* staging) const;

 private:
  std::variant<RowSource, RaggedSource> source_;
};

class LoaderSources {
 public:
  /// Decides whether the fields are cached. Collective where options.ranks are given. `dataset` must
  /// outlive the sources. `buckets`: of these fields.
  LoaderSources(const Dataset& dataset, const LoaderOptions& options, const LengthBuckets& buckets);

  const std::vector<FieldSource>& fields() const { return fields_; }  // as in options.fields
  /// Whether fill() wants its requests sorted by sample.
  bool wants_sorted() const { return wants_sorted_; }

 private:
  bool make_cache(const Dataset& dataset, const LoaderOptions& options);

  NodeMemory memory_;                       // of the cache
  std::map<std::string, int64_t> offsets_;  // there, of each field of the dataset
  std::vector<FieldSource> fields_;
  bool wants_sorted_ = false;
};

}  // namespace lockstep
