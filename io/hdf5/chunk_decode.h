// Undoes HDF5's filters on one chunk, without HDF5: deflate, lzf, lz4, zstd, bitshuffle, shuffle, fletcher32.
// Any number of threads at a time.
#pragma once

#include <cstddef>
#include <vector>

#include "io/hdf5/chunk_index.h"

namespace lockstep {

/// What a thread keeps between chunks.
struct ChunkScratch {
  std::vector<std::byte> stored;
  std::vector<std::byte> between[2];  // of filters in the middle
  /// n_bytes of the buffer that `src` does not lie in.
  std::byte* decoded(const std::byte* src, int64_t n_bytes);
};

/// Decodes `chunk`, whose bytes as stored lie in scratch.stored, to dst (index.chunk_bytes()). False where
/// they are damaged or not of the size that the filters promise; then dst holds anything.
bool decode_chunk(const ChunkIndex& index, const StoredChunk& chunk, ChunkScratch& scratch, std::byte* dst);

}  // namespace lockstep
