// Which rows of a dataset hold values that are not finite (NaN, infinity), found while they pass by on their
// way to the network: a layer may hide them from the loss (a ReLU makes 0 of NaN).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/loader/loader.h"

namespace lockstep {

class NotFiniteRows {
 public:
  /// `path`: where the rows come from. `fields`: those that a loader delivers. `dataset`: outlives it; null
  /// where the rows lie in one file.
  NotFiniteRows(std::string path, std::vector<LoaderField> fields, const Dataset* dataset)
      : path_(std::move(path)), dataset_(dataset), fields_(std::move(fields)) {}

  /// A micro-batch of the loader's.
  void look_at(const MicroBatch& batch);
  /// Collective. A sentence that names the first such field and row of all ranks, and how many rows there
  /// are; "" if there are none. Begins anew.
  std::string told(Communicator& comm);

 private:
  bool is_ragged(const std::string& field) const;

  std::string path_;
  const Dataset* dataset_;
  std::vector<LoaderField> fields_;
  int64_t n_rows_ = 0;
  int64_t first_row_ = INT64_MAX, first_field_ = 0;
};

}  // namespace lockstep
