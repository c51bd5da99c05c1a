// All ranks write the content of a laid-out checkpoint through parallel HDF5: the file is
// opened collectively, each rank's own part is written independently. Independent writes of
// one contiguous part per rank are what a parallel file system likes best, and a write that
// fails on one rank leaves no other rank waiting inside a collective.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>

#include "comm/agreement.h"
#include "comm/mpi_check.h"
#include "io/checkpoint_write.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "kernels/error.h"

namespace lockstep::checkpoint_format {

namespace {

constexpr int64_t kWriteBytes = 64 << 20;  // per call: MPI counts are int, and readers share the lock
constexpr int64_t kMpiScratchBytes = 64 << 10, kSuperblockBytes = 96;

void append_blocks(const Shape& shape, int axis, Shape start, int64_t first, int64_t n,
                   std::vector<Block>& out) {
  if (n == 0) return;
  int64_t n_row = 1;  // elements of one step along `axis`
  for (int i = axis + 1; i < shape.rank(); ++i) n_row *= shape[i];
  Block block{start, start};
  for (int i = 0; i < axis; ++i) block.count[i] = 1;
  auto descend = [&](int64_t row, int64_t first_in_row, int64_t n_in_row) {
    start[axis] = row;
    append_blocks(shape, axis + 1, start, first_in_row, n_in_row, out);
  };
  if (const int64_t skipped = first % n_row; skipped != 0) {
    const int64_t n_head = std::min(n, n_row - skipped);
    descend(first / n_row, skipped, n_head);
    first += n_head;
    n -= n_head;
  }
  if (const int64_t n_rows = n / n_row; n_rows > 0) {
    block.start[axis] = first / n_row;
    block.count[axis] = n_rows;
    for (int i = axis + 1; i < shape.rank(); ++i) {
      block.start[i] = 0;
      block.count[i] = shape[i];
    }
    out.push_back(block);
  }
  if (const int64_t n_tail = n % n_row; n_tail > 0) descend((first + n) / n_row, 0, n_tail);
}

void write_range(hid_t dataset, const CheckpointTensor& tensor, int64_t first_byte, int64_t n_bytes) {
  const int64_t n_element_bytes = size_of(tensor.dtype);
  const char* data = static_cast<const char*>(tensor.data) + first_byte;
  for (const Block& block :
       blocks_of(tensor.shape, first_byte / n_element_bytes, n_bytes / n_element_bytes)) {
    const auto guard = h5::lock();
    const hsize_t n_elements = static_cast<hsize_t>(block.count.n_elements());
    const std::vector<hsize_t> start(block.start.begin(), block.start.end());
    const std::vector<hsize_t> count(block.count.begin(), block.count.end());
    const h5::Id file_space = h5::own(H5Dget_space(dataset), "H5Dget_space", tensor.name);
    if (tensor.shape.rank() > 0) {
      h5::check(
          H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "H5Sselect_hyperslab", tensor.name);
    }
    const h5::Id memory_space =
        h5::own(H5Screate_simple(1, &n_elements, nullptr), "H5Screate_simple", tensor.name);
    h5::check(H5Dwrite(dataset, h5::native_type(tensor.dtype), memory_space.get(), file_space.get(),
                       H5P_DEFAULT, data),
              "H5Dwrite", tensor.name);
    data += static_cast<int64_t>(n_elements) * n_element_bytes;
  }
}

void write_own_pieces(hid_t file, int rank, const std::vector<CheckpointTensor>& tensors,
                      const std::vector<Piece>& pieces) {
  for (size_t i = 0; i < pieces.size();) {
    if (pieces[i].owner != rank) {
      ++i;
      continue;
    }
    const int64_t t = pieces[i].tensor;
    const CheckpointTensor& tensor = tensors[t];
    const h5::Id dataset = h5::own(H5Dopen2(file, tensor.name.c_str(), H5P_DEFAULT), "H5Dopen2", tensor.name);
    while (i < pieces.size() && pieces[i].tensor == t && pieces[i].owner == rank) {
      const int64_t first = pieces[i].first_byte;
      int64_t n_bytes = 0;
      for (; i < pieces.size() && pieces[i].tensor == t && pieces[i].owner == rank && n_bytes < kWriteBytes;
           ++i) {
        n_bytes += pieces[i].n_bytes;
      }
      write_range(dataset.get(), tensor, first, n_bytes);
    }
  }
}

/// Open MPI keeps a few bytes per open file in its session folder, and MPI_File_open hangs
/// where they cannot be written.
void check_mpi_scratch_space() {
  const char* place = std::getenv("OMPI_FILE_LOCATION");
  if (!place) return;
  const std::string folder = std::filesystem::path(place).parent_path().string();
  if (std::error_code ignored; !std::filesystem::is_directory(folder, ignored)) return;
  if (std::min(free_bytes(folder), file_size_limit()) >= kMpiScratchBytes) return;
  throw Error(folder, "MPI's session folder has no space left",
              "free space there, or set TMPDIR to another folder");
}

/// H5Fclose rewrites the first bytes on rank 0, and HDF5 waits for ever on the other ranks
/// where that fails. The space is there already, so only a broken disk can fail here; then the
/// program ends.
void check_superblock_can_be_rewritten(const std::string& path) {
  try {
    char superblock[kSuperblockBytes];
    FileHandle file(path, O_RDWR);
    file.read_at(superblock, sizeof superblock, 0);
    file.write_at(superblock, sizeof superblock, 0);
  } catch (const Error& error) {
    ::unlink(path.c_str());
    abort_all(std::string("cannot even rewrite what is on the disk: ") + error.what(), kExitError);
  }
}

}  // namespace

std::vector<Block> blocks_of(const Shape& shape, int64_t first, int64_t n) {
  std::vector<Block> blocks;
  if (shape.rank() == 0) {
    if (n > 0) blocks.push_back({shape, shape});
  } else {
    append_blocks(shape, 0, shape, first, n, blocks);
  }
  return blocks;
}

void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces) {
  // A rank that cannot reach the file says so here, before the collective open.
  all_or_none(comm, [&] {
    FileHandle(path, O_RDWR).close();
    check_mpi_scratch_space();
  });
  h5::Id file;
  auto open = [&] {
    const auto guard = h5::lock();
    const h5::Id access = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
    h5::check(H5Pset_fapl_mpio(access.get(), mpi_comm(comm), MPI_INFO_NULL), "H5Pset_fapl_mpio", path);
    file = h5::own(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), "H5Fopen", path);
  };
  try {
    all_or_none(comm, open);
  } catch (...) {
    file.release();  // closing is collective, and a rank without the file would not take part
    throw;
  }
  std::exception_ptr failure;
  try {
    write_own_pieces(file.get(), comm.rank(), tensors, pieces);
  } catch (...) {
    failure = std::current_exception();  // the close below is collective: first that, then the report
  }
  if (comm.is_root()) check_superblock_can_be_rewritten(path);
  all_or_none(comm, [&] {
    try {
      file.close();
    } catch (...) {
      if (!failure) throw;
    }
    if (failure) std::rethrow_exception(failure);
    FileHandle written(path, O_RDWR);
    written.sync();
    written.close();
  });
}

}  // namespace lockstep::checkpoint_format
