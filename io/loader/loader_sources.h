// Where a loader's fields come from: the cache, shared by the ranks of a host, or the files.
#pragma once

#include <cstdint>
#include <vector>

#include "io/files/node_memory.h"
#include "io/loader/loader.h"
#include "io/loader/row_source.h"

namespace lockstep {

/// Throws Error where the options do not fit each other or the dataset.
void check_loader(const Dataset& dataset, const LoaderOptions& options, int64_t start_step);

class LoaderSources {
 public:
  /// Decides whether the fields are cached. Collective where options.ranks are given. `dataset` must
  /// outlive the sources.
  LoaderSources(const Dataset& dataset, const LoaderOptions& options);

  const std::vector<RowSource>& fields() const { return fields_; }  // as in options.fields
  /// Whether gather() wants its requests sorted by sample.
  bool wants_sorted() const { return wants_sorted_; }

 private:
  bool make_cache(const Dataset& dataset, const LoaderOptions& options);

  NodeMemory memory_;  // of the cache
  std::vector<RowSource> fields_;
  bool wants_sorted_ = false;
};

}  // namespace lockstep
