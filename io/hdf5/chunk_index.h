// Where the chunks of an HDF5 dataset lie in their file, so that they can be read and decoded outside of
// HDF5 and its lock. HDF5 1.10 finds a chunk by its coordinates in O(log n), but says where it lies only by
// walking over all chunks before it. The index therefore asks for each chunk's raw bytes
// (H5Dread_chunk) through a file driver of its own that notes the address and reads nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/hdf5/compression.h"

namespace lockstep {

/// One chunk as it is stored. n_bytes 0: it is not in the file (nothing was ever written to it).
struct StoredChunk {
  int64_t offset = 0;  // in the file, bytes
  uint32_t n_bytes = 0;
  uint32_t filter_mask = 0;  // bit i: filter i was left out for this chunk
};

enum class ChunkFilter : uint8_t { kDeflate, kShuffle, kFletcher32, kLzf, kLz4, kZstd, kBitshuffle };

struct ChunkIndex {
  std::vector<int64_t> extents, chunk;  // elements per dimension; chunk[0] counts rows
  int64_t element_bytes = 0;
  std::vector<ChunkFilter> filters;  // in the order of writing
  BitshuffleSettings bitshuffle;     // where it is among them
  std::vector<StoredChunk> chunks;   // row-major over the grid of chunks

  int64_t chunk_bytes() const;          // decoded
  int64_t n_chunks(size_t dim) const {  // along a dimension
    return (extents[dim] + chunk[dim] - 1) / chunk[dim];
  }
  /// Whether a chunk holds whole rows, one after the other.
  bool holds_whole_rows() const;
};

/// Whether only the filter's own bytes tell what they become.
bool is_compression(ChunkFilter filter, const ChunkIndex& index);

/// The index of dataset `name` of the file `path`; null where its elements cannot be delivered as they
/// are stored (other byte order, narrow integers), or its layout or a filter is none that we decode.
/// Throws Error if the file cannot be read. Takes some microseconds per chunk, under the HDF5 lock.
std::shared_ptr<const ChunkIndex> read_chunk_index(const std::string& path, const std::string& name);

}  // namespace lockstep
