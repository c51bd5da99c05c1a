// Saving a checkpoint. Rank 0 lays the file out alone (header, attributes, empty datasets),
// reserves its space, and only then do all ranks open it and write their
// parts of the content. So a full disk is met by plain calls on rank 0, HDF5's header does
// not depend on the number of ranks, and while P ranks write, no header byte changes.
//
// Every stage ends in an agreement: all ranks go on, or all throw and rank 0 removes the
// temporary file. The steps between agreements make no collective call that a failing rank
// could miss.
#include "io/checkpoint/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint_format.h"
#include "io/checkpoint/checkpoint_write.h"
#include "io/files/checksum.h"
#include "io/files/files.h"
#include "kernels/error.h"

namespace lockstep {

using checkpoint_format::Piece;
using checkpoint_format::PieceData;

namespace {

void check_tensors(const std::vector<CheckpointTensor>& tensors) {
  std::vector<std::string> names;
  for (const CheckpointTensor& tensor : tensors) {
    if (tensor.data == nullptr && !tensor.sharded && tensor.shape.n_elements() > 0)
      throw Error("checkpoint", tensor.name + " has no data", "let its `data` point at its elements");
    names.push_back(tensor.name);
  }
  check_tensor_names(names);
}

/// Every rank hashes its own pieces; the sum over ranks (others hold 0) is the exchange.
std::vector<CheckpointEntry> make_entries(Communicator& comm, const std::vector<CheckpointTensor>& tensors,
                                          const std::vector<Piece>& pieces, const PieceData& data) {
  std::vector<int64_t> hashes(pieces.size(), 0);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].owner != comm.rank()) continue;
    hashes[i] = static_cast<int64_t>(piece_checksum(data[i], pieces[i].n_bytes));
  }
  comm.sleeping_barrier();
  comm.native_all_reduce(hashes);

  std::vector<ChunkedChecksum> checksums(tensors.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    checksums[pieces[i].tensor].update_piece(static_cast<uint64_t>(hashes[i]));
  }
  std::vector<CheckpointEntry> entries;
  for (size_t t = 0; t < tensors.size(); ++t) {
    entries.push_back({tensors[t].name, tensors[t].shape, tensors[t].dtype, checksums[t].digest()});
  }
  return entries;
}

}  // namespace

std::string checkpoint_file_name(int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%09lld.h5", static_cast<long long>(step));
  return name;
}

void check_tensor_names(const std::vector<std::string>& names) {
  const std::string remedy = "give the layers names that are no paths: a letter first, no '/'";
  const std::set<std::string> all(names.begin(), names.end());
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) throw Error("checkpoint", "two tensors are called " + name, remedy);
    if (name.empty() || name.front() != '/' || name.find('\0') != std::string::npos)
      throw Error("checkpoint", "tensor name '" + name + "' is not of the form /GROUP/NAME", remedy);
    for (size_t begin = 1; begin <= name.size();) {
      const size_t end = std::min(name.find('/', begin), name.size());
      const std::string part = name.substr(begin, end - begin);
      if (part.empty() || part == ".") {
        throw Error("checkpoint",
                    "HDF5 cannot store a tensor called '" + name + "': '" + part + "' is no name in a path",
                    remedy);
      }
      if (end < name.size() && all.count(name.substr(0, end)) > 0) {
        throw Error("checkpoint",
                    "HDF5 cannot store '" + name + "' beside '" + name.substr(0, end) +
                        "', which is a tensor and would have to be a group",
                    remedy);
      }
      begin = end + 1;
    }
    if (name.back() == '/') throw Error("checkpoint", "tensor name '" + name + "' ends with '/'", remedy);
  }
}

std::string save_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                            const std::vector<CheckpointTensor>& tensors) {
  for (const CheckpointTensor& tensor : tensors)
    if (tensor.sharded)
      throw Error("checkpoint", tensor.name + " is sharded: no rank holds all of it",
                  "save it through CheckpointSaver");
  const std::vector<Piece> pieces = checkpoint_format::deal_pieces(tensors, comm.size());
  PieceData data(pieces.size(), nullptr);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].owner != comm.rank()) continue;
    data[i] = static_cast<const char*>(tensors[pieces[i].tensor].data) + pieces[i].first_byte;
  }
  return checkpoint_format::write_checkpoint(comm, folder, info, tensors, pieces, data);
}

namespace checkpoint_format {

std::string write_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                             const std::vector<CheckpointTensor>& tensors, const std::vector<Piece>& pieces,
                             const PieceData& data) {
  const std::string name = checkpoint_file_name(info.step);
  const std::string path = (std::filesystem::path(folder) / name).string();
  const std::string temporary = (std::filesystem::path(folder) / ("." + name + ".tmp")).string();
  check_on_root(comm, [&] { check_tensors(tensors); });
  const std::vector<CheckpointEntry> entries = make_entries(comm, tensors, pieces, data);
  std::vector<ContentRange> content;
  try {
    check_on_root(
        comm, [&] { content = lay_out(temporary, info, entries); }, Waiting::kSleep);
    write_content(comm, temporary, tensors, pieces, data);
    check_on_root(
        comm,
        [&] {
          append_seal(temporary, content);
          rename_durably(temporary, path);
        },
        Waiting::kSleep);
  } catch (...) {
    if (comm.is_root()) ::unlink(temporary.c_str());
    throw;
  }
  return path;
}

void probe_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                      const std::vector<CheckpointTensor>& tensors) {
  const std::string temporary = (std::filesystem::path(folder) / ".step-probe.h5.tmp").string();
  const auto remove = [&] {
    if (comm.is_root()) ::unlink(temporary.c_str());
  };
  try {
    check_on_root(comm, [&] {
      check_tensors(tensors);
      std::vector<CheckpointEntry> entries;
      for (const CheckpointTensor& tensor : tensors)
        entries.push_back({tensor.name, tensor.shape, tensor.dtype});
      append_seal(temporary, lay_out(temporary, info, entries));
    });
    write_content(comm, temporary, tensors, {}, {});
  } catch (...) {
    remove();
    throw;
  }
  remove();
}

}  // namespace checkpoint_format

}  // namespace lockstep
