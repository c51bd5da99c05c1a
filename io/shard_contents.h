// What one HDF5 file of a dataset holds: its fields, where their bytes lie, its metadata.
// Dataset compares these over all shards; reading happens there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/dataset.h"
#include "io/hdf5.h"

namespace lockstep {

/// What to do about a shard that is cut off or cannot be read.
inline constexpr const char* kDamagedRemedy =
    "run `lockstep verify` on the dataset, copy the file again or convert again";

/// One HDF5 dataset of the root group.
struct StoredField {
  Field field;  // dtype: as read() delivers it, see memory_type()
  int64_t n_rows = 0;
  int64_t offset_bytes = -1;       // of the first row in the file; -1: read through HDF5
  std::string unusable;            // why it is no field ("holds strings"); empty for a field
  Dataset::Statistics statistics;  // empty where not recorded
  std::optional<uint64_t> checksum;
};

struct ShardContents {
  std::vector<StoredField> fields;  // in name order
  std::vector<std::string> class_names;
};

/// Opens `path`, describes it and closes it. Throws Error naming the file: not HDF5,
/// truncated, of a newer Lockstep format, unreadable metadata, a damaged seal.
ShardContents inspect_shard(const std::string& path);

/// The type in which HDF5 hands over a dataset's elements: the stored one in native byte order.
h5::Id stored_type(hid_t dataset, const std::string& where);
/// That type, but int8, int16 and uint16 become int32, uint32 and uint64 become int64: the
/// types of Field.
h5::Id memory_type(hid_t dataset, const std::string& where);

/// Reads rows [first, first + count) of `dataset` as elements of `type` to `dst`. Throws Error.
void read_rows(hid_t dataset, hid_t type, int64_t first, int64_t count, void* dst, const std::string& where);

}  // namespace lockstep
