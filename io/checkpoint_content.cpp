// All ranks write the content of a laid-out checkpoint: the file is opened collectively as a
// parallel HDF5 file, HDF5 says at which bytes each contiguous dataset lies, and every rank
// writes its own part there through HDF5's MPI-IO handle. Independent writes of one contiguous
// part per rank are what a parallel file system likes best; a write that fails on one rank
// leaves no other rank waiting inside a collective; and HDF5's lock is free meanwhile, so
// that loaders go on reading. What holds the lock (opening, closing) waits only for other
// ranks' same call, after a barrier, and no reader waits for a rank with the lock: no cycle.
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

constexpr int64_t kWriteBytes = 32 << 20;  // per call: MPI counts are int
constexpr int64_t kMpiScratchBytes = 64 << 10, kSuperblockBytes = 96;

/// Bytes that follow one another in this rank's memory and in the file.
struct Run {
  const char* data;
  int64_t offset, n_bytes;
};

std::vector<Run> own_runs(hid_t file, int rank, const std::vector<CheckpointTensor>& tensors,
                          const std::vector<Piece>& pieces, const PieceData& data) {
  const auto guard = h5::lock();
  std::vector<Run> runs;
  int64_t tensor = -1, tensor_offset = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    if (piece.owner != rank) continue;
    if (piece.tensor != tensor) {
      tensor = piece.tensor;
      const std::string& name = tensors[tensor].name;
      const h5::Id dataset = h5::own(H5Dopen2(file, name.c_str(), H5P_DEFAULT), "H5Dopen2", name);
      const haddr_t offset = H5Dget_offset(dataset.get());
      if (offset == HADDR_UNDEF) h5::check(-1, "H5Dget_offset", name);
      tensor_offset = static_cast<int64_t>(offset);
    }
    const int64_t offset = tensor_offset + piece.first_byte;
    if (!runs.empty()) {
      Run& last = runs.back();
      if (last.data + last.n_bytes == data[i] && last.offset + last.n_bytes == offset &&
          last.n_bytes + piece.n_bytes <= kWriteBytes) {
        last.n_bytes += piece.n_bytes;
        continue;
      }
    }
    runs.push_back({data[i], offset, piece.n_bytes});
  }
  return runs;
}

/// MPI's own handle of the open file; HDF5 owns it.
MPI_File mpi_file(hid_t file, const std::string& path) {
  const auto guard = h5::lock();
  void* handle = nullptr;
  h5::check(H5Fget_vfd_handle(file, H5P_DEFAULT, &handle), "H5Fget_vfd_handle", path);
  return *static_cast<MPI_File*>(handle);
}

void write_runs(MPI_File file, const std::string& path, const std::vector<Run>& runs) {
  const FileHandle hints(path, O_WRONLY);
  for (const Run& run : runs) {
    MPI_Status status;
    const int n_bytes = static_cast<int>(run.n_bytes);
    LOCKSTEP_MPI(MPI_File_write_at(file, run.offset, run.data, n_bytes, MPI_BYTE, &status));
    int n_written = 0;
    LOCKSTEP_MPI(MPI_Get_count(&status, MPI_BYTE, &n_written));
    if (n_written == n_bytes) {
      hints.start_writing_out(run.offset, run.n_bytes);  // the disk works while the next run is copied
      continue;
    }
    throw Error(path,
                "MPI-IO wrote " + std::to_string(n_written) + " of " + std::to_string(n_bytes) +
                    " bytes at byte " + std::to_string(run.offset),
                "free space on that file system, or choose another output folder (--out)");
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

/// HDF5 and MPI-IO open a file on all ranks together, by name, and wait for ever where that fails on some of
/// them, as it does when somebody removes the file meanwhile. So every rank opens it alone first, under a
/// number that all have, and then together by the name of that number, which cannot vanish.
class NumberedFile {
 public:
  /// Collective. Throws AgreedError where a rank cannot open the file.
  NumberedFile(Communicator& comm, const std::string& path) {
    FileHandle file;
    all_or_none(
        comm,
        [&] {
          file = FileHandle(path, O_RDWR);
          check_mpi_scratch_space();
        },
        Waiting::kSleep);
    for (int64_t wanted = kFirstNumber;;) {
      number_ =
          ::fcntl(file.fd(), F_DUPFD_CLOEXEC, static_cast<int>(wanted));  // the first free from there on
      name_ = "/proc/self/fd/" + std::to_string(number_);
      const bool is_there = number_ >= 0 && ::access(name_.c_str(), R_OK | W_OK) == 0;
      const int64_t largest = comm.all_reduce_max(is_there ? number_ : INT64_MAX);
      if (largest == INT64_MAX) {  // no /proc, or no numbers left: by its own name, then
        name_ = path;
        return;
      }
      if (comm.all_reduce_max(largest - number_) == 0) return;
      ::close(number_);
      wanted = largest;
    }
  }
  ~NumberedFile() {
    if (number_ >= 0) ::close(number_);
  }
  NumberedFile(const NumberedFile&) = delete;
  NumberedFile& operator=(const NumberedFile&) = delete;

  const std::string& name() const { return name_; }

 private:
  static constexpr int64_t kFirstNumber = 200;
  int number_ = -1;
  std::string name_;
};

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
    // Removed by somebody: the open file can still be written, and the seal, by its name, fails on all ranks.
    if (std::error_code ignored; !std::filesystem::exists(path, ignored)) return;
    ::unlink(path.c_str());
    abort_all(std::string("cannot even rewrite what is on the disk: ") + error.what(), kExitError);
  }
}

}  // namespace

void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces, const PieceData& data) {
  const NumberedFile opened(comm, path);
  h5::Id file;
  auto open = [&] {
    const auto guard = h5::lock();
    const h5::Id access = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
    h5::check(H5Pset_fapl_mpio(access.get(), mpi_comm(comm), MPI_INFO_NULL), "H5Pset_fapl_mpio", path);
    file = h5::own(H5Fopen(opened.name().c_str(), H5F_ACC_RDWR, access.get()), "H5Fopen", path);
  };
  try {
    all_or_none(comm, open);
  } catch (...) {
    file.release();  // closing is collective, and a rank without the file would not take part
    throw;
  }
  std::exception_ptr failure;
  try {
    write_runs(mpi_file(file.get(), path), path, own_runs(file.get(), comm.rank(), tensors, pieces, data));
  } catch (...) {
    failure = std::current_exception();  // the close below is collective: first that, then the report
  }
  if (comm.is_root()) check_superblock_can_be_rewritten(path);
  comm.sleeping_barrier();  // closing holds HDF5's lock and waits for the other ranks
  const auto finish = [&] {
    try {
      file.close();
    } catch (...) {
      if (!failure) throw;
    }
    if (failure) std::rethrow_exception(failure);
    FileHandle written(path, O_RDWR);
    written.sync();
    written.close();
  };
  all_or_none(comm, finish, Waiting::kSleep);
}

}  // namespace lockstep::checkpoint_format
