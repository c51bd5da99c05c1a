// What one HDF5 file of a dataset holds: its fields, where their bytes lie, its metadata.
// Dataset compares these over all shards; reading happens there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/hdf5/elements.h"
#include "io/hdf5/hdf5.h"

namespace lockstep {

/// What to do about a shard that is cut off or cannot be read.
inline constexpr const char* kDamagedRemedy =
    "copy the file again from where it came, or convert the data again";

/// One HDF5 dataset, named by its path in the file.
struct StoredField {
  Field field;                     // dtype: as read() delivers it, see elements_of()
  int64_t n_rows = 0;              // samples
  int64_t n_elements = 0;          // rows of the HDF5 dataset
  int64_t offset_bytes = -1;       // of the first row in the file; -1: not contiguous
  bool has_chunks_here = false;    // that decode_chunk() may know, in this very file
  std::string unusable, remedy;    // why it is no field ("holds strings"); empty for a field
  Dataset::Statistics statistics;  // empty where not recorded
  Dataset::Traits traits;
  std::optional<uint64_t> checksum;
  std::vector<std::string> vocabulary;  // of the dataset NAME_vocabulary; may be empty
  std::string tokenizer;                // of the dataset NAME_tokenizer; may be empty
  std::vector<int32_t> lengths;         // ragged: of each row
  std::vector<StoredField> offsets;     // ragged: the dataset NAME_offsets
};

struct ShardContents {
  std::vector<StoredField> fields;  // in name order
  std::vector<std::string> class_names;
  std::string part_of;  // "ID INDEX COUNT" of a conversion; empty: of none
};

/// Opens `path`, describes it and closes it. Fields that cannot be used are marked; but Error is thrown for a
/// file that is not HDF5, truncated, of a newer Lockstep format, with a damaged seal; and where
/// options.fields is empty for contents that are cut off.
ShardContents inspect_shard(const std::string& path, const DatasetOptions& options = {});

}  // namespace lockstep
