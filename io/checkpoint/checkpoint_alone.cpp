// A checkpoint by one rank alone, for when others are lost: the layout and the commit are those of
// save_checkpoint(), the content goes into the file by the same writes. The temporary name is
// this process's own, beside that of a collective save that will never end.
//
// HDF5 allows one call at a time, and another thread may be in one for ever: it opens or closes a checkpoint
// together with a rank that is lost. Then a forked copy of the process writes the file: that thread does not
// exist there, and HDF5's records of other files are as if the call went on later.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint_format.h"
#include "io/checkpoint/checkpoint_write.h"
#include "io/files/checksum.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep {

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

void write_file(const std::string& temporary, const std::string& path, const CheckpointInfo& info,
                const std::vector<CheckpointEntry>& entries, const std::vector<CheckpointTensor>& tensors) {
  try {
    const std::vector<ContentRange> content = checkpoint_format::lay_out(temporary, info, entries);
    const std::vector<int64_t> offsets = content_offsets(temporary, tensors);
    FileHandle file(temporary, O_RDWR);
    for (size_t t = 0; t < tensors.size(); ++t) {
      const int64_t n_bytes = checkpoint_format::n_bytes_of(tensors[t]);
      if (n_bytes > 0) file.write_at(tensors[t].data, n_bytes, offsets[t]);
    }
    file.sync();
    file.close();
    append_seal(temporary, content);
    rename_durably(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

/// Runs `work` in a copy of this process, which ends with it. Throws what the copy says of its failure.
void run_in_forked_copy(const std::function<void()>& work) {
  int words[2];
  if (pipe2(words, O_CLOEXEC) != 0) throw_file_error("a pipe", "opening", errno);
  const pid_t child = fork();
  if (child < 0)
    throw Error("emergency checkpoint",
                std::string("no copy of the process can be made to write it: ") + std::strerror(errno),
                "leave memory free on this host, or raise the limit of processes (ulimit -u)");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::string failure;
    try {
      h5::free_lock_after_fork();
      work();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    [[maybe_unused]] const ssize_t ignored = ::write(words[1], failure.data(), failure.size());
    _exit(failure.empty() ? 0 : 1);
  }
  ::close(words[1]);
  std::string failure(4096, '\0');
  const ssize_t n_bytes = ::read(words[0], failure.data(), failure.size());
  ::close(words[0]);
  failure.resize(static_cast<size_t>(std::max<ssize_t>(n_bytes, 0)));
  int status = 0;
  waitpid(child, &status, 0);
  if (status == 0) return;
  if (!failure.empty()) throw Error("", failure);
  throw Error("emergency checkpoint", "the process that wrote it was killed",
              "see why in the log of this host (dmesg): mostly for want of memory");
}

}  // namespace

std::string save_checkpoint_alone(const std::string& folder, const CheckpointInfo& info,
                                  const std::vector<CheckpointTensor>& tensors, double hdf5_limit_s) {
  const std::string name = checkpoint_file_name(info.step);
  const std::string path = (std::filesystem::path(folder) / name).string();
  const std::string temporary =
      (std::filesystem::path(folder) / ("." + name.substr(0, name.size() - 3) + "." + host_name() + "-" +
                                        std::to_string(getpid()) + ".h5.tmp"))
          .string();
  check_whole(tensors);
  const std::vector<CheckpointEntry> entries = make_entries(tensors);
  const auto write = [&] {
    // A damaged file of that step, which the run has passed over when it resumed, is replaced.
    if (std::filesystem::exists(path) && verify_checkpoint(path).empty()) return;
    write_file(temporary, path, info, entries, tensors);
  };
  if (const auto guard = h5::lock_within(hdf5_limit_s)) {
    write();
  } else {
    run_in_forked_copy(write);
  }
  return path;
}

}  // namespace lockstep
