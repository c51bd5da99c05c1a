// Reads rows of a chunked dataset by its index: pread of the chunks, decoding by this thread, no HDF5.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/files/files.h"
#include "io/hdf5/chunk_cache.h"
#include "io/hdf5/chunk_index.h"

namespace lockstep {

/// Rows [first, first + count) to `dst`, as stored. Chunks without filters that hold whole rows are read in
/// place, others are decoded: to dst where all of the chunk's rows are wanted, else by way of `cache`, in
/// which `key` + a chunk's number names it. False where a
/// chunk is not in the file, damaged or unreadable: then dst holds anything.
bool read_chunked_rows(const ChunkIndex& index, const FileHandle& file, ChunkCache& cache, uint64_t key,
                       int64_t first, int64_t count, std::byte* dst);

/// Whether all chunks of rows [first, first + count) are in the file.
bool has_chunks(const ChunkIndex& index, int64_t first, int64_t count);

/// The whole chunk that holds a row, from `cache` or through it: row r of the dataset is its row
/// r % index.chunk[0]. index.holds_whole_rows() must hold. Null as read_chunked_rows() says false.
ChunkCache::Chunk chunk_of_row(const ChunkIndex& index, const FileHandle& file, ChunkCache& cache,
                               uint64_t key, int64_t row);

}  // namespace lockstep
