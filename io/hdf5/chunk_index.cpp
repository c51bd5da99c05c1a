#include "io/hdf5/chunk_index.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>

#include "io/files/files.h"
#include "io/hdf5/elements.h"
#include "io/hdf5/hdf5.h"
#include "io/hdf5/hdf5_filters.h"
#include "kernels/error.h"
#if __has_include(<H5FDdevelop.h>)  // HDF5 1.14 and later
#include <H5FDdevelop.h>
#endif

namespace lockstep {

namespace {

// The driver: plain reading of one file, except that elements are not read but their place is noted.
// HDF5 calls these functions under its lock; exceptions must not pass through it.
struct NotingFile {
  H5FD_t base = {};  // first: HDF5 sees only this
  FileHandle file;
  haddr_t n_bytes = 0, end = 0;
  std::optional<StoredChunk> noted;
};
NotingFile* last_opened = nullptr;  // under h5::lock(): how read_chunk_index() finds what it opened

NotingFile* self(H5FD_t* file) { return reinterpret_cast<NotingFile*>(file); }
const NotingFile* self(const H5FD_t* file) { return reinterpret_cast<const NotingFile*>(file); }

H5FD_t* open_noting(const char* path, unsigned flags, hid_t, haddr_t) {
  if (flags & H5F_ACC_RDWR) return nullptr;
  try {
    auto opened = std::make_unique<NotingFile>();
    opened->file = FileHandle(path, O_RDONLY);
    opened->n_bytes = static_cast<haddr_t>(opened->file.n_bytes());
    last_opened = opened.release();
    return &last_opened->base;
  } catch (...) {
    return nullptr;
  }
}
herr_t close_noting(H5FD_t* file) {
  delete self(file);
  return 0;
}
int compare_noting(const H5FD_t* a, const H5FD_t* b) { return a < b ? -1 : a > b; }
herr_t query_noting(const H5FD_t*, unsigned long* flags) {
  if (flags) *flags = 0;
  return 0;
}
haddr_t end_noting(const H5FD_t* file, H5FD_mem_t) { return self(file)->end; }
herr_t set_end_noting(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  self(file)->end = end;
  return 0;
}
haddr_t size_noting(const H5FD_t* file, H5FD_mem_t) { return self(file)->n_bytes; }
herr_t read_noting(H5FD_t* file, H5FD_mem_t type, hid_t, haddr_t offset, size_t n_bytes, void* dst) {
  if (type == H5FD_MEM_DRAW) {
    if (n_bytes > UINT32_MAX) return -1;
    self(file)->noted = StoredChunk{static_cast<int64_t>(offset), static_cast<uint32_t>(n_bytes), 0};
    return 0;
  }
  try {
    // Metadata is read ahead, beyond the end where the file is short.
    const haddr_t end = self(file)->n_bytes;
    const size_t n = offset >= end ? 0 : static_cast<size_t>(std::min<haddr_t>(n_bytes, end - offset));
    if (n > 0) self(file)->file.read_at(dst, static_cast<int64_t>(n), static_cast<int64_t>(offset));
    std::memset(static_cast<char*>(dst) + n, 0, n_bytes - n);
    return 0;
  } catch (...) {
    return -1;
  }
}
herr_t refuse_write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, size_t, const void*) { return -1; }

/// Registered once for the process, never given back.
hid_t noting_driver() {
  static const hid_t driver = [] {
    static H5FD_class_t functions = {};
#ifdef H5FD_CLASS_VERSION
    functions.version = H5FD_CLASS_VERSION;
    functions.value = static_cast<H5FD_class_value_t>(H5_VFD_RESERVED + 76);
#endif
    functions.name = "lockstep_noting";
    functions.maxaddr = (haddr_t{1} << 62) - 1;
    functions.fc_degree = H5F_CLOSE_WEAK;
    functions.open = open_noting;
    functions.close = close_noting;
    functions.cmp = compare_noting;
    functions.query = query_noting;
    functions.get_eoa = end_noting;
    functions.set_eoa = set_end_noting;
    functions.get_eof = size_noting;
    functions.read = read_noting;
    functions.write = refuse_write;
    std::fill(std::begin(functions.fl_map), std::end(functions.fl_map), H5FD_MEM_SUPER);
    return H5FDregister(&functions);
  }();
  return driver;
}

}  // namespace

int64_t ChunkIndex::chunk_bytes() const {
  int64_t n = element_bytes;
  for (int64_t extent : chunk) n *= extent;
  return n;
}

bool ChunkIndex::holds_whole_rows() const {
  return std::equal(chunk.begin() + 1, chunk.end(), extents.begin() + 1);
}

bool is_compression(ChunkFilter filter, const ChunkIndex& index) {
  switch (filter) {
    case ChunkFilter::kShuffle:
    case ChunkFilter::kFletcher32: return false;
    case ChunkFilter::kBitshuffle: return index.bitshuffle.codec != BitshuffleSettings::Codec::kNone;
    default: return true;
  }
}

std::shared_ptr<const ChunkIndex> read_chunk_index(const std::string& path, const std::string& name) {
  const auto guard = h5::lock();
  const h5::Id access = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
  h5::check(H5Pset_driver(access.get(), noting_driver(), nullptr), "H5Pset_driver", path);
  const h5::Id file = h5::own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), "H5Fopen", path);
  NotingFile& noting = *last_opened;
  const h5::Id dataset = h5::own(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), "H5Dopen", path);
  const h5::Id type = h5::own(H5Dget_type(dataset.get()), "H5Dget_type", path);
  const h5::Id plist = h5::own(H5Dget_create_plist(dataset.get()), "H5Dget_create_plist", path);
  if (H5Pget_layout(plist.get()) != H5D_CHUNKED) return nullptr;
  if (!elements_of(type.get()).as_stored) return nullptr;

  auto index = std::make_shared<ChunkIndex>();
  index->element_bytes = static_cast<int64_t>(H5Tget_size(type.get()));
  if (!h5::read_decodable_filters(plist.get(), *index)) return nullptr;
  unsigned options = 0;  // chunks at the border may be stored without filters
  if (H5Pget_chunk_opts(plist.get(), &options) < 0) return nullptr;
  if (!index->filters.empty() && (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS)) return nullptr;

  const h5::Id space = h5::own(H5Dget_space(dataset.get()), "H5Dget_space", path);
  std::array<hsize_t, H5S_MAX_RANK> extents = {}, chunk = {};
  const int rank = H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  h5::check(rank, "H5Sget_simple_extent_dims", path);
  h5::check(H5Pget_chunk(plist.get(), rank, chunk.data()), "H5Pget_chunk", path);
  int64_t n_chunks = 1;
  for (int d = 0; d < rank; ++d) {
    index->extents.push_back(static_cast<int64_t>(extents[static_cast<size_t>(d)]));
    index->chunk.push_back(static_cast<int64_t>(chunk[static_cast<size_t>(d)]));
    if (__builtin_mul_overflow(n_chunks, index->n_chunks(static_cast<size_t>(d)), &n_chunks)) return nullptr;
  }
  // Each chunk in the file has at least a byte there: most of these are not.
  if (n_chunks > static_cast<int64_t>(noting.n_bytes)) return nullptr;

  index->chunks.resize(static_cast<size_t>(n_chunks));
  std::array<hsize_t, H5S_MAX_RANK> at = {};
  for (StoredChunk& stored : index->chunks) {
    uint32_t filter_mask = 0;
    noting.noted.reset();
    if (H5Dread_chunk(dataset.get(), H5P_DEFAULT, at.data(), &filter_mask, &filter_mask) >= 0 &&
        noting.noted) {
      stored = *noting.noted;
      stored.filter_mask = filter_mask;
    } else {
      H5Eclear2(H5E_DEFAULT);  // not in the file
    }
    for (size_t d = static_cast<size_t>(rank); d-- > 0;) {  // the next one in row-major order
      at[d] += chunk[d];
      if (at[d] < extents[d]) break;
      at[d] = 0;
    }
  }
  return index;
}

}  // namespace lockstep
