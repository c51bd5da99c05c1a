// All ranks write the content of a laid-out checkpoint: HDF5, which every rank opens by itself and to read
// only, says at which bytes each contiguous dataset lies; then the ranks open the file together through
// MPI-IO, and each writes its own part there. Independent writes of one contiguous part per rank are what a
// parallel file system likes best; a write that fails on one rank leaves no other rank waiting inside a
// collective; HDF5's lock is free meanwhile, so that loaders go on reading; and no header byte changes, which
// HDF5 would write at its close and could not report to all ranks if it failed.
//
// MPI-IO wants more than a disk: /proc, and room for its own files. Where it cannot open the file, each rank
// writes its part by plain calls, and so does one rank by itself. What MPI-IO does not write, as when the
// system interrupts it, plain calls write too.
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
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
constexpr int64_t kMpiScratchBytes = 64 << 10;

/// Bytes that follow one another in this rank's memory and in the file.
struct Run {
  const char* data;
  int64_t offset, n_bytes;
};

std::vector<Run> own_runs(const std::string& path, int rank, const std::vector<CheckpointTensor>& tensors,
                          const std::vector<Piece>& pieces, const PieceData& data) {
  const auto guard = h5::lock();
  h5::Id file;
  std::vector<Run> runs;
  int64_t tensor = -1, tensor_offset = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    if (piece.owner != rank) continue;
    if (!file) file = h5::open_file(path);
    if (piece.tensor != tensor) {
      tensor = piece.tensor;
      const std::string& name = tensors[tensor].name;
      const h5::Id dataset = h5::own(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), "H5Dopen2", name);
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

/// `file`: MPI_FILE_NULL where there is no MPI-IO.
void write_runs(MPI_File file, const std::string& path, const std::vector<Run>& runs) {
  FileHandle plain(path, O_WRONLY);
  for (const Run& run : runs) {
    int n_written = 0;
    if (file != MPI_FILE_NULL) {
      MPI_Status status;
      const bool ok = MPI_File_write_at(file, run.offset, run.data, static_cast<int>(run.n_bytes), MPI_BYTE,
                                        &status) == MPI_SUCCESS;
      if (!ok || MPI_Get_count(&status, MPI_BYTE, &n_written) != MPI_SUCCESS || n_written < 0 ||
          n_written > run.n_bytes)
        n_written = 0;
    }
    // The rest, whose failure the system explains.
    plain.write_at(run.data + n_written, run.n_bytes - n_written, run.offset + n_written);
    plain.start_writing_out(run.offset, run.n_bytes);  // the disk works while the next run is copied
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

/// MPI-IO opens a file on all ranks together, by name, and waits for ever where that fails on some of
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

/// Collective. The file opened by all ranks through MPI-IO, or MPI_FILE_NULL on all of them.
class SharedFile {
 public:
  SharedFile(Communicator& comm, const std::string& path) {
    // Equal on all ranks: set by what they have agreed on.
    static std::atomic<bool> works{true};
    if (comm.size() == 1 || !works) return;
    try {
      const NumberedFile opened(comm, path);
      all_or_none(comm, [&] {
        LOCKSTEP_MPI(
            MPI_File_open(mpi_comm(comm), opened.name().c_str(), MPI_MODE_RDWR, MPI_INFO_NULL, &file_));
      });
    } catch (const AgreedError& error) {
      // A rank that has it open cannot close it, which is collective.
      file_ = MPI_FILE_NULL;
      works = false;
      if (comm.is_root())
        fmt::print(stderr, "lockstep: checkpoints are written without MPI-IO: {}\n", error.what());
    }
  }
  /// Collective, unless an exception unwinds.
  ~SharedFile() {
    if (file_ != MPI_FILE_NULL) MPI_File_close(&file_);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  MPI_File get() const { return file_; }

 private:
  MPI_File file_ = MPI_FILE_NULL;
};

}  // namespace

void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces, const PieceData& data) {
  std::exception_ptr failure;
  {
    const SharedFile file(comm, path);
    try {
      write_runs(file.get(), path, own_runs(path, comm.rank(), tensors, pieces, data));
    } catch (...) {
      failure = std::current_exception();  // the close is collective: first that, then the report
    }
    comm.sleeping_barrier();
  }
  const auto finish = [&] {
    if (failure) std::rethrow_exception(failure);
    FileHandle written(path, O_RDWR);
    written.sync();
    written.close();
  };
  all_or_none(comm, finish, Waiting::kSleep);
}

}  // namespace lockstep::checkpoint_format
