// Rows that lie contiguous or in chunks of known filters are read past HDF5. It is asked for the rest, and
// for chunks that were never written, but not for what our decoder calls damaged: HDF5 1.10 reads beyond its
// own buffer where a chunk has fewer bytes than it should.
#include "io/dataset/shard_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>

#include "io/dataset/elsewhere.h"
#include "io/dataset/shard_contents.h"
#include "io/files/checksum.h"
#include "io/files/files.h"
#include "io/hdf5/chunk_cache.h"
#include "io/hdf5/chunk_index.h"
#include "io/hdf5/chunk_reader.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr size_t kMaxOpenDescriptors = 128;
constexpr size_t kMaxOpenHdf5 = 32;
// Shuffled reads of one micro-batch should find their chunk again. HDF5's is per open dataset.
constexpr size_t kHdf5CacheBytes = size_t{16} << 20;
constexpr int64_t kDecodedBytes = int64_t{32} << 20;
// Where neighbours are wanted soon: contiguous rows of that size together, plain chunks up to the other.
constexpr int64_t kBlockBytes = int64_t{128} << 10;
constexpr int64_t kLargestBlockBytes = int64_t{1} << 20;
constexpr int kChunkBits = 40;  // of a key in the cache of blocks and decoded chunks

/// Of contiguous rows.
int64_t block_rows(int64_t row_bytes) { return std::max<int64_t>(1, kBlockBytes / row_bytes); }

/// Up to `limit` open things by shard index; the one not used for longest goes first.
/// A thing in use elsewhere stays alive through its shared pointer.
template <typename T>
class OpenTable {
 public:
  OpenTable(size_t n_shards, size_t limit) : slots_(n_shards), limit_(limit) {}

  template <typename Open>
  std::shared_ptr<T> get(size_t shard, Open&& open) {
    Slot& slot = slots_[shard];
    slot.last_use = ++clock_;
    if (!slot.thing) {
      if (n_open_ >= limit_) close_oldest();
      slot.thing = open();
      ++n_open_;
    }
    return slot.thing;
  }

 private:
  struct Slot {
    std::shared_ptr<T> thing;
    uint64_t last_use = 0;
  };
  void close_oldest() {
    Slot* oldest = nullptr;
    for (Slot& slot : slots_) {
      if (slot.thing && (!oldest || slot.last_use < oldest->last_use)) oldest = &slot;
    }
    oldest->thing.reset();
    --n_open_;
  }
  std::vector<Slot> slots_;
  size_t limit_, n_open_ = 0;
  uint64_t clock_ = 0;
};

/// An HDF5 file opened for reading, with the datasets used so far (by field index).
struct OpenHdf5 {
  h5::Id file;
  struct Opened {
    h5::Id dataset, type;
  };
  std::map<size_t, Opened> datasets;
};

[[noreturn]] void refuse(const std::string& path, const std::string& name, int64_t first, int64_t count,
                         const std::string& why) {
  throw Error(path,
              "dataset " + name + ", rows " + std::to_string(first) + " to " +
                  std::to_string(first + count - 1) + " cannot be read: " + why,
              kDamagedRemedy);
}

}  // namespace

struct ShardReader::Impl {
  std::vector<std::string> paths;
  std::vector<Column> columns;
  std::mutex descriptors_mutex;
  OpenTable<FileHandle> descriptors;
  OpenTable<OpenHdf5> files;  // under h5::lock()
  struct Indexed {
    std::once_flag once;
    std::shared_ptr<const ChunkIndex> index;  // null: none
  };
  std::deque<Indexed> indexes;  // (column, shard)
  ChunkCache decoded{kDecodedBytes};

  Impl(std::vector<std::string> p, std::vector<Column> c)
      : paths(std::move(p)),
        columns(std::move(c)),
        descriptors(paths.size(), kMaxOpenDescriptors),
        files(paths.size(), kMaxOpenHdf5),
        indexes(paths.size() * columns.size()) {}

  OpenHdf5::Opened& open_hdf5(size_t column, size_t shard);
  std::shared_ptr<FileHandle> descriptor(size_t shard);
  const ChunkIndex* chunk_index(size_t column, size_t shard);
  uint64_t key(size_t column, size_t shard) const {
    return static_cast<uint64_t>(column * paths.size() + shard) << kChunkBits;
  }
  void pread_rows(size_t column, size_t shard, int64_t first, int64_t count, std::byte* dst);
};

OpenHdf5::Opened& ShardReader::Impl::open_hdf5(size_t column, size_t shard) {
  const std::string& path = paths[shard];
  OpenHdf5& open = *files.get(shard, [&] {
    auto opened = std::make_shared<OpenHdf5>();
    opened->file = h5::open_file(path);
    return opened;
  });
  OpenHdf5::Opened& opened = open.datasets[column];
  if (!opened.dataset) {
    const char* const name = columns[column].name.c_str();
    h5::Id access;
    if (columns[column].has_chunks_here[shard]) {
      access = h5::own(H5Pcreate(H5P_DATASET_ACCESS), "H5Pcreate", path);
    } else {  // closed before it is opened again: a dataset that is open keeps its properties
      const h5::Id found = h5::own(H5Dopen2(open.file.get(), name, H5P_DEFAULT), "H5Dopen", path);
      access = access_of_external_storage(found.get(), path);
    }
    h5::check(H5Pset_chunk_cache(access.get(), 1009, kHdf5CacheBytes, 1.0), "H5Pset_chunk_cache", path);
    opened.dataset = h5::own(H5Dopen2(open.file.get(), name, access.get()), "H5Dopen", path);
    opened.type = memory_type(opened.dataset.get(), columns[column].dtype, path);
  }
  return opened;
}

std::shared_ptr<FileHandle> ShardReader::Impl::descriptor(size_t shard) {
  const std::lock_guard guard(descriptors_mutex);
  return descriptors.get(shard, [&] { return std::make_shared<FileHandle>(paths[shard], O_RDONLY); });
}

const ChunkIndex* ShardReader::Impl::chunk_index(size_t column, size_t shard) {
  Indexed& indexed = indexes[column * paths.size() + shard];
  std::call_once(indexed.once, [&] {
    if (!columns[column].has_chunks_here[shard]) return;
    try {
      indexed.index = read_chunk_index(paths[shard], columns[column].name);
    } catch (const Error&) {  // HDF5 will say it when it reads
    }
  });
  return indexed.index.get();
}

void ShardReader::Impl::pread_rows(size_t column, size_t shard, int64_t first, int64_t count,
                                   std::byte* dst) {
  const Column& from = columns[column];
  try {
    descriptor(shard)->read_at(dst, count * from.row_bytes,
                               from.offset_bytes[shard] + first * from.row_bytes);
  } catch (const Error& error) {
    refuse(paths[shard], from.name, first, count, error.reason());
  }
}

ShardReader::ShardReader(std::vector<std::string> paths, std::vector<Column> columns)
    : impl_(std::make_unique<Impl>(std::move(paths), std::move(columns))) {}
ShardReader::~ShardReader() = default;

void ShardReader::read(size_t column, size_t shard, int64_t first, int64_t count, std::byte* dst) {
  Impl& s = *impl_;
  if (s.columns[column].offset_bytes[shard] >= 0) return s.pread_rows(column, shard, first, count, dst);
  if (const ChunkIndex* index = s.chunk_index(column, shard)) {
    std::shared_ptr<FileHandle> file;
    try {
      file = s.descriptor(shard);
    } catch (const Error&) {  // HDF5 says why
    }
    if (file) {
      if (read_chunked_rows(*index, *file, s.decoded, s.key(column, shard), first, count, dst)) return;
      if (has_chunks(*index, first, count))
        refuse(s.paths[shard], s.columns[column].name, first, count,
               "a chunk is damaged, or the file cannot be read there");
    }
  }
  const auto guard = h5::lock();
  try {
    const OpenHdf5::Opened& opened = s.open_hdf5(column, shard);
    read_rows(opened.dataset.get(), opened.type.get(), first, count, dst, s.paths[shard]);
  } catch (const Error& error) {
    refuse(s.paths[shard], s.columns[column].name, first, count, error.reason());
  }
}

std::shared_ptr<const std::byte> ShardReader::row_of_block(size_t column, size_t shard, int64_t row) {
  Impl& s = *impl_;
  const int64_t row_bytes = s.columns[column].row_bytes, rows = rows_of_block(column, shard);
  if (rows == 1) return nullptr;
  ChunkCache::Chunk block;
  if (s.columns[column].offset_bytes[shard] >= 0) {
    const int64_t first = row / rows * rows, n = std::min(rows, s.columns[column].n_rows[shard] - first);
    block = s.decoded.get(s.key(column, shard) + static_cast<uint64_t>(row / rows), n * row_bytes, {},
                          [&](std::byte* bytes) {
                            s.pread_rows(column, shard, first, n, bytes);
                            return true;
                          });
  } else {
    try {
      block = chunk_of_row(*s.chunk_index(column, shard), *s.descriptor(shard), s.decoded,
                           s.key(column, shard), row);
    } catch (const Error&) {  // the file cannot be opened: read() says why
    }
    if (!block) return nullptr;
  }
  const std::byte* at = block.get() + row % rows * row_bytes;
  return {std::move(block), at};
}

int64_t ShardReader::rows_decoded_together(size_t column, size_t shard) {
  if (impl_->columns[column].offset_bytes[shard] >= 0) return 1;
  const ChunkIndex* index = impl_->chunk_index(column, shard);
  if (index) return index->filters.empty() && index->holds_whole_rows() ? 1 : index->chunk[0];
  return 1;
}

int64_t ShardReader::rows_of_block(size_t column, size_t shard) {
  const Column& from = impl_->columns[column];
  if (from.offset_bytes[shard] >= 0) return block_rows(from.row_bytes);
  const ChunkIndex* index = impl_->chunk_index(column, shard);
  if (!index || !index->holds_whole_rows()) return 1;
  return !index->filters.empty() || index->chunk_bytes() <= kLargestBlockBytes ? index->chunk[0] : 1;
}

void ShardReader::keep_blocks(int64_t n_bytes) { impl_->decoded.allow(n_bytes); }

void ShardReader::read_through(size_t column, size_t shard) {
  const Column& from = impl_->columns[column];
  const int64_t row_bytes = from.row_bytes, n_rows = from.n_rows[shard];
  const int64_t most = std::clamp<int64_t>((int64_t{8} << 20) / std::max<int64_t>(1, row_bytes), 1,
                                           std::max<int64_t>(1, n_rows));
  std::vector<std::byte> rows(static_cast<size_t>(most * row_bytes));
  for (int64_t first = 0; first < n_rows; first += most)
    read(column, shard, first, std::min(most, n_rows - first), rows.data());
}

uint64_t ShardReader::checksum(size_t column, size_t shard) {
  const auto guard = h5::lock();
  const int64_t n_rows = impl_->columns[column].n_rows[shard];
  const std::string& path = impl_->paths[shard];
  const OpenHdf5::Opened& opened = impl_->open_hdf5(column, shard);
  const h5::Id type = stored_type(opened.dataset.get(), path);
  const int64_t row_bytes = h5::shape_of(opened.dataset.get()).without_front().n_elements() *
                            static_cast<int64_t>(H5Tget_size(type.get()));
  const int64_t n_at_once =
      std::clamp<int64_t>((int64_t{8} << 20) / row_bytes, 1, std::max<int64_t>(1, n_rows));
  std::vector<std::byte> rows(static_cast<size_t>(n_at_once * row_bytes));
  ChunkedChecksum checksum;
  for (int64_t first = 0; first < n_rows; first += n_at_once) {
    const int64_t count = std::min(n_at_once, n_rows - first);
    read_rows(opened.dataset.get(), type.get(), first, count, rows.data(), path);
    checksum.update(rows.data(), count * row_bytes);
  }
  return checksum.digest();
}

}  // namespace lockstep
