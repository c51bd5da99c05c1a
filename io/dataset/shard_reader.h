// Reads rows of a dataset's shards: contiguous ones with pread, chunked ones by an index of their chunks,
// made when first read; the rest, and whatever looks damaged, through HDF5 under its lock. Files are opened
// when first read and only a bounded number stays open, so that thousands of shards do not use up file
// descriptors. Two tables of open files: descriptors for pread under their own mutex, HDF5 handles under
// the HDF5 lock. No thread ever waits for one lock while it holds the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dtype.h"

namespace lockstep {

class ShardReader {
 public:
  /// Where a field's rows lie.
  struct Column {
    std::string name;
    int64_t row_bytes = 0;              // as delivered
    DType dtype = DType::kFloat32;      // as delivered
    std::vector<int64_t> offset_bytes;  // per shard; -1: not contiguous
    std::vector<bool> has_chunks_here;  // per shard: chunks may be read from the file itself
    std::vector<int64_t> n_rows;        // per shard
  };

  ShardReader(std::vector<std::string> paths, std::vector<Column> columns);
  ~ShardReader();

  /// Rows [first, first + count) of one shard to `dst`. Safe from any thread. Throws Error
  /// naming the shard and the rows.
  void read(size_t column, size_t shard, int64_t first, int64_t count, std::byte* dst);
  /// A small row in memory, within a block of its neighbours that is read if it is not there yet and lives as
  /// long as the pointer. Null where the row must be read by itself. Safe from any thread; throws like
  /// read().
  std::shared_ptr<const std::byte> row_of_block(size_t column, size_t shard, int64_t row);

  /// Rows that are decoded together (a chunk's); 1 where a row can be read by itself.
  int64_t rows_decoded_together(size_t column, size_t shard);
  /// Rows of one of row_of_block()'s blocks; 1 where there are none.
  int64_t rows_of_block(size_t column, size_t shard);
  /// Blocks and decoded chunks may take at least that much memory; at first it is little.
  void keep_blocks(int64_t n_bytes);

  /// Reads all rows and forgets them. Throws Error where some cannot be read.
  void read_through(size_t column, size_t shard);

  /// ChunkedChecksum over all rows as stored, in native byte order. Throws Error.
  uint64_t checksum(size_t column, size_t shard);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
