// A dataset: a folder of HDF5 files in name order (or one file), each holding equally named
// datasets whose first dimension counts samples. Files that h5py wrote without any Lockstep
// metadata are a valid dataset.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

/// One named quantity of every sample, such as "image" or "label".
struct Field {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape shape;  // of one sample, without the sample dimension
};

class Dataset {
 public:
  /// Opens every shard and checks that they agree. Throws Error naming the shard: missing or
  /// empty folder, not HDF5, truncated, a field absent or of another shape or type,
  /// different sample counts within a shard.
  static Dataset open(const std::string& path);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  const std::string& path() const;
  int64_t n_samples() const;
  const std::vector<Field>& fields() const;
  /// The field of that name. Throws Error naming the fields that exist.
  const Field& field(const std::string& name) const;

  /// Optional metadata; empty where the files carry none.
  const std::vector<std::string>& class_names() const;
  /// Statistics of a field's values as stored: one per channel (first dimension of a sample).
  struct Statistics {
    std::vector<double> mean, stddev;
  };
  const Statistics* statistics(const std::string& field) const;  // null: not recorded

  struct Shard {
    std::string path;
    int64_t first = 0, n_samples = 0;  // global index of its first sample
  };
  const std::vector<Shard>& shards() const;

  /// Rows of a field that are decoded together in the first shard (a chunk's); 1 where each can be read by
  /// itself.
  int64_t rows_decoded_together(const std::string& field) const;
  /// Rows of one of row_of_block()'s blocks in the first shard; 1 where there are none.
  int64_t rows_of_block(const std::string& field) const;
  /// Blocks and decoded chunks may take at least that much memory (32 MiB at first).
  void keep_blocks(int64_t n_bytes) const;

  /// Copies rows [first, first + count) of a field, as stored (no conversion), to `dst`
  /// (count x bytes of one sample). May cross shards. Safe from any thread. Reads contiguous
  /// storage and chunks (plain, deflate, shuffle, fletcher32) with pread, anything else through HDF5 under
  /// its lock. Throws Error naming the shard and rows if the file cannot give them.
  void read(const std::string& field, int64_t first, int64_t count, void* dst) const;
  /// For those who will soon want a row's neighbours: the row as stored, in a block of memory that is read if
  /// need be and stays a while, at least as long as the pointer. Null where it is large or must be read by
  /// itself: read() it. Safe from any thread. Throws as read() does.
  std::shared_ptr<const std::byte> row_of_block(const std::string& field, int64_t row) const;

  /// Compares the stored checksum of every dataset with its content, in shards part, part + n_parts …
  /// Returns one line per mismatch. Counts datasets of shards with and without a checksum.
  std::vector<std::string> verify(int64_t* n_checked, int64_t* n_unchecked, int part = 0,
                                  int n_parts = 1) const;

 private:
  struct Impl;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
