#include "io/hdf5/chunk_reader.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "io/hdf5/chunk_decode.h"
#include "kernels/error.h"
#include "kernels/shape.h"

namespace lockstep {

namespace {

bool is_stored_plain(const ChunkIndex& index, const StoredChunk& chunk) {
  const uint32_t all = (uint32_t{1} << index.filters.size()) - 1;
  return (chunk.filter_mask & all) == all;
}

/// The bytes of the part that chunk and dataset share along dimensions 1 and up, rows [first, end) of the
/// chunk: from the chunk to where they belong in `dst`, which holds whole rows from `first` on.
void copy_box(const ChunkIndex& index, const int64_t* origin, int64_t first, int64_t end,
              const std::byte* chunk, std::byte* dst) {
  const size_t rank = index.extents.size();
  std::array<int64_t, Shape::kMaxRank> extent{}, at{};  // of the box, without rows
  for (size_t d = 1; d < rank; ++d) extent[d] = std::min(index.chunk[d], index.extents[d] - origin[d]);
  const int64_t run_bytes = (rank > 1 ? extent[rank - 1] : 1) * index.element_bytes;
  for (int64_t row = first; row < end; ++row) {
    at.fill(0);
    for (bool more = true; more;) {  // over all but the last dimension
      int64_t from = row, to = row - first;
      for (size_t d = 1; d < rank; ++d) {
        from = from * index.chunk[d] + at[d];
        to = to * index.extents[d] + origin[d] + at[d];
      }
      std::memcpy(dst + to * index.element_bytes, chunk + from * index.element_bytes,
                  static_cast<size_t>(run_bytes));
      more = false;
      for (size_t d = rank - 1; d-- > 1;) {
        if (++at[d] < extent[d]) {
          more = true;
          break;
        }
        at[d] = 0;
      }
    }
  }
}

/// A chunk's elements to `decoded`; false where it is damaged or cannot be read.
bool load(const ChunkIndex& index, const FileHandle& file, const StoredChunk& chunk, std::byte* decoded) {
  thread_local ChunkScratch scratch;
  const bool is_plain = is_stored_plain(index, chunk);
  if (is_plain && chunk.n_bytes != index.chunk_bytes()) return false;
  if (!is_plain && scratch.stored.size() < chunk.n_bytes) scratch.stored.resize(chunk.n_bytes);
  try {
    file.read_at(is_plain ? decoded : scratch.stored.data(), chunk.n_bytes, chunk.offset);
  } catch (const Error&) {
    return false;
  }
  return is_plain || decode_chunk(index, chunk, scratch, decoded);
}

}  // namespace

bool has_chunks(const ChunkIndex& index, int64_t first, int64_t count) {
  int64_t n_across = 1;
  for (size_t d = 1; d < index.extents.size(); ++d) n_across *= index.n_chunks(d);
  const int64_t end = (first + count + index.chunk[0] - 1) / index.chunk[0];
  for (int64_t number = first / index.chunk[0] * n_across; number < end * n_across; ++number)
    if (index.chunks[static_cast<size_t>(number)].n_bytes == 0) return false;
  return true;
}

ChunkCache::Chunk chunk_of_row(const ChunkIndex& index, const FileHandle& file, ChunkCache& cache,
                               uint64_t key, int64_t row) {
  assert(index.holds_whole_rows());
  const int64_t number = row / index.chunk[0];  // the grid has one column
  const StoredChunk& chunk = index.chunks[static_cast<size_t>(number)];
  if (chunk.n_bytes == 0) return nullptr;
  return cache.get(key + static_cast<uint64_t>(number), index.chunk_bytes(), {},
                   [&](std::byte* decoded) { return load(index, file, chunk, decoded); });
}

bool read_chunked_rows(const ChunkIndex& index, const FileHandle& file, ChunkCache& cache, uint64_t key,
                       int64_t first, int64_t count, std::byte* dst) {
  const size_t rank = index.extents.size();
  assert(rank >= 1 && rank <= Shape::kMaxRank);
  int64_t row_bytes = index.element_bytes, n_across = 1;  // chunks side by side in one row
  for (size_t d = 1; d < rank; ++d) {
    row_bytes *= index.extents[d];
    n_across *= index.n_chunks(d);
  }
  const bool whole_rows = index.holds_whole_rows();
  const int64_t rows = index.chunk[0], chunk_bytes = index.chunk_bytes();

  for (int64_t g = first / rows; g * rows < first + count; ++g) {
    const int64_t from = std::max(first, g * rows), to = std::min(first + count, (g + 1) * rows);
    std::byte* out = dst + (from - first) * row_bytes;
    std::array<int64_t, Shape::kMaxRank> origin{};  // of the chunk, in elements
    for (int64_t a = 0; a < n_across; ++a) {
      const int64_t number = g * n_across + a;
      const StoredChunk& chunk = index.chunks[static_cast<size_t>(number)];
      if (chunk.n_bytes == 0) return false;
      const uint64_t name = key + static_cast<uint64_t>(number);
      if (whole_rows && is_stored_plain(index, chunk)) {
        if (chunk.n_bytes != chunk_bytes) return false;
        try {
          file.read_at(out, (to - from) * row_bytes, chunk.offset + (from - g * rows) * row_bytes);
        } catch (const Error&) {
          return false;
        }
      } else if (whole_rows && to - from == rows && !cache.has(name)) {  // all of it: decoded in place
        if (!load(index, file, chunk, out)) return false;
      } else {
        const ChunkCache::Rows wanted{from - g * rows, to - g * rows,
                                      std::min(rows, index.extents[0] - g * rows)};
        const ChunkCache::Chunk decoded = cache.get(
            name, chunk_bytes, wanted, [&](std::byte* bytes) { return load(index, file, chunk, bytes); });
        if (!decoded) return false;
        if (whole_rows) {
          std::memcpy(out, decoded.get() + (from - g * rows) * row_bytes,
                      static_cast<size_t>((to - from) * row_bytes));
        } else {
          copy_box(index, origin.data(), from - g * rows, to - g * rows, decoded.get(), out);
        }
      }
      for (size_t d = rank; d-- > 1;) {  // the chunk beside it
        origin[d] += index.chunk[d];
        if (origin[d] < index.extents[d]) break;
        origin[d] = 0;
      }
    }
  }
  return true;
}

}  // namespace lockstep
