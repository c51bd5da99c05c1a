// A checkpoint by one rank alone, for when others are lost: the layout and the commit are those of
// save_checkpoint(), the content goes into the file by plain writes instead of MPI-IO. The temporary name is
// this process's own, beside that of a collective save that will never end.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint_format.h"
#include "io/checkpoint_write.h"
#include "io/checksum.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "kernels/error.h"

namespace lockstep {

using checkpoint_format::ContentRange;
using checkpoint_format::Piece;

namespace {

void check_whole(const std::vector<CheckpointTensor>& tensors) {
  for (const CheckpointTensor& tensor : tensors) {
    if (!tensor.sharded) continue;
    throw Error(tensor.name, "it is sharded: no rank holds all of it", "resume from the last checkpoint");
  }
}

std::vector<CheckpointEntry> make_entries(const std::vector<CheckpointTensor>& tensors) {
  std::vector<ChunkedChecksum> checksums(tensors.size());
  for (const Piece& piece : checkpoint_format::deal_pieces(tensors, 1)) {
    const char* data = static_cast<const char*>(tensors[piece.tensor].data) + piece.first_byte;
    checksums[piece.tensor].update_piece(piece_checksum(data, piece.n_bytes));
  }
  std::vector<CheckpointEntry> entries;
  for (size_t t = 0; t < tensors.size(); ++t)
    entries.push_back({tensors[t].name, tensors[t].shape, tensors[t].dtype, checksums[t].digest()});
  return entries;
}

/// Where each tensor's content begins in a laid-out file.
std::vector<int64_t> content_offsets(const std::string& path, const std::vector<CheckpointTensor>& tensors) {
  const auto guard = h5::lock();
  const h5::Id file = h5::open_file(path);
  std::vector<int64_t> offsets;
  for (const CheckpointTensor& tensor : tensors) {
    const h5::Id dataset =
        h5::own(H5Dopen2(file.get(), tensor.name.c_str(), H5P_DEFAULT), "H5Dopen2", tensor.name);
    offsets.push_back(static_cast<int64_t>(H5Dget_offset(dataset.get())));
  }
  return offsets;
}

}  // namespace

std::string save_checkpoint_alone(const std::string& folder, const CheckpointInfo& info,
                                  const std::vector<CheckpointTensor>& tensors, double hdf5_limit_s) {
  const std::string name = checkpoint_file_name(info.step);
  const std::string path = (std::filesystem::path(folder) / name).string();
  if (std::filesystem::exists(path)) return path;
  const std::string temporary =
      (std::filesystem::path(folder) / ("." + name.substr(0, name.size() - 3) + "." + host_name() + "-" +
                                        std::to_string(getpid()) + ".h5.tmp"))
          .string();
  check_whole(tensors);
  const std::vector<CheckpointEntry> entries = make_entries(tensors);
  try {
    auto guard = h5::lock_within(hdf5_limit_s);
    const std::vector<ContentRange> content = checkpoint_format::lay_out(temporary, info, entries);
    const std::vector<int64_t> offsets = content_offsets(temporary, tensors);
    guard.unlock();
    FileHandle file(temporary, O_RDWR);
    for (size_t t = 0; t < tensors.size(); ++t) {
      const int64_t n_bytes = checkpoint_format::n_bytes_of(tensors[t]);
      if (n_bytes > 0) file.write_at(tensors[t].data, n_bytes, offsets[t]);
    }
    file.sync();
    file.close();
    checkpoint_format::append_seal(temporary, content);
    rename_durably(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  return path;
}

}  // namespace lockstep
