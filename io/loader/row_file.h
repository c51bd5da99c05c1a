// RowFile: an HDF5 file of datasets whose rows are samples, filled by all ranks in any order.
// What `predict` writes; itself a valid dataset.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"

namespace lockstep {

/// Names that go with the rows.
struct RowNames {
  std::vector<std::string> classes;  // the attribute class_names; may be empty
  std::vector<std::string>
      rows;  // the dataset "file", text of a fixed length; one per row or none. Root's count
};

class RowFile {
 public:
  /// Collective. Creates `path` under a temporary name with n_rows rows of every field.
  /// Throws AgreedError if it cannot be created.
  RowFile(Communicator& comm, const std::string& path, const std::vector<Field>& fields, int64_t n_rows,
          const RowNames& names = {});
  ~RowFile();

  /// Writes rows [first, first + count) of a field from `data`. Any rank, no waiting.
  void write(const std::string& field, int64_t first, int64_t count, const void* data);
  /// Collective. Completes the file and gives it its name. Without it nothing remains.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
