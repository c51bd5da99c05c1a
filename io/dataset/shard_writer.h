// One shard of a dataset: an HDF5 file with a contiguous dataset per field, written from row-major arrays; of
// a ragged field NAME the elements of all rows, and NAME_offsets, int64 (n_samples + 1) from 0. Its bytes
// depend on the content alone: no times, no host, no rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/dataset/statistics.h"
#include "io/files/checksum.h"
#include "io/hdf5/hdf5.h"

namespace lockstep {

/// What every shard of a dataset repeats about the whole.
struct DatasetDescription {
  std::vector<Dataset::Statistics> statistics;  // one per field; empty: not recorded
  std::vector<std::string> class_names;         // may be empty
  std::string source;                           // short, without paths or times
  std::string id;                               // of the conversion: a hash of all shards' content
  int64_t n_shards = 1;
  std::vector<std::vector<std::string>> vocabularies;  // one per field, which may be empty; or none at all
  std::vector<std::string> tokenizers;                 // likewise
};

class ShardWriter {
 public:
  /// Creates the file (replacing an old one) with datasets (n_samples, shape of the field …). n_elements: of
  /// all rows of each ragged field; may be empty where none is ragged.
  ShardWriter(const std::string& path, const std::vector<Field>& fields, int64_t n_samples,
              const std::vector<int64_t>& n_elements = {});

  /// Appends `count` rows to every field: data[f] is (count, shape of field f …); of a ragged field the rows
  /// one behind the other, of lengths[f] (count) elements.
  void append(std::span<const std::byte* const> data, int64_t count,
              std::span<const std::vector<int32_t>> lengths = {});

  /// Of the rows so far; one per field.
  const std::vector<ChannelMoments>& moments() const { return moments_; }

  /// A hash of all rows so far.
  uint64_t content_hash() const;

  /// After all rows: writes the checksums, closes, and throws Error if anything was not stored.
  void close();

  /// Adds what is known only once all shards are written, then seals the file and syncs it to disk. `shard`:
  /// its number among description.n_shards.
  static void describe(const std::string& path, const std::vector<Field>& fields,
                       const DatasetDescription& description, int64_t shard);

 private:
  /// One HDF5 dataset.
  struct Written {
    std::string name;
    Field element;
    int64_t n_rows = 0, n_written = 0;
    h5::Id dataset;
    ChunkedChecksum checksum;
  };
  void create(const std::string& name, const Field& element, int64_t n_rows);
  void write(Written& to, const void* rows, int64_t count);

  std::string path_;
  std::vector<Field> fields_;
  int64_t n_samples_, n_written_ = 0;
  h5::Id file_;
  std::vector<ChannelMoments> moments_;
  std::vector<Written> datasets_;   // of the fields, and behind them the offsets of ragged ones
  std::vector<size_t> offsets_of_;  // the field that each of the latter belongs to
};

/// The names of the HDF5 datasets that ShardWriter makes, in its order.
std::vector<std::string> stored_names(const std::vector<Field>& fields);

}  // namespace lockstep
