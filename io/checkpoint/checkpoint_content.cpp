// All ranks write the content of a laid-out checkpoint: HDF5, which every rank opens by itself and to read
// only, says at which bytes each contiguous dataset lies, and each rank writes its own part there by plain
// calls. Independent writes of one contiguous part per rank are what a parallel file system likes best; a
// write that fails on one rank leaves no other rank waiting; HDF5's lock is free meanwhile, so that loaders
// go on reading; no header byte changes. MPI-IO is not used: beside the disk it wants /proc and room for
// files of its own, and its collective open waits for ever where the system interrupts a write on one rank.
#include <fcntl.h>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint_write.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep::checkpoint_format {

namespace {

constexpr int64_t kWriteBytes = 32 << 20;  // per call

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

void write_runs(const std::string& path, const std::vector<Run>& runs) {
  if (runs.empty()) return;
  FileHandle file(path, O_WRONLY);
  for (const Run& run : runs) {
    file.write_at(run.data, run.n_bytes, run.offset);
    file.start_writing_out(run.offset, run.n_bytes);  // the disk works while the next run is copied
  }
  file.close();
}

}  // namespace

void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces, const PieceData& data) {
  const auto write = [&] {
    write_runs(path, own_runs(path, comm.rank(), tensors, pieces, data));
    FileHandle written(path, O_RDWR);
    written.sync();
    written.close();
  };
  all_or_none(comm, write, Waiting::kSleep);
}

}  // namespace lockstep::checkpoint_format
