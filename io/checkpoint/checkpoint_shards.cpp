// Every rank knows every rank's parts, so both sides of a transfer list it in the same order and no message
// needs a name. Guarded by tests/io/checkpoint_saver_test.cpp (files equal to those of whole tensors).
#include "io/checkpoint/checkpoint_shards.h"

#include <mpi.h>

#include <algorithm>
#include <cstring>

#include "comm/agreement.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep::checkpoint_format {

namespace {

constexpr int kTag = 83;

/// A part as ranks tell each other of it, in bytes of the tensor.
struct Held {
  int64_t tensor, first, n_bytes;
};

std::vector<Held> held_here(const std::vector<CheckpointTensor>& tensors) {
  std::vector<Held> held;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const int64_t size = size_of(tensors[t].dtype);
    for (const TensorPart& part : tensors[t].parts)
      held.push_back({static_cast<int64_t>(t), part.first * size, part.n_elements * size});
  }
  return held;
}

std::vector<std::vector<Held>> held_by_all(Communicator& comm, const std::vector<Held>& own) {
  const std::string text(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(Held));
  std::vector<std::vector<Held>> all;
  for (const std::string& other : comm.all_gather_strings(text)) {
    all.emplace_back(other.size() / sizeof(Held));
    if (!other.empty()) std::memcpy(all.back().data(), other.data(), other.size());
  }
  return all;
}

void check_complete(const std::vector<CheckpointTensor>& tensors, const std::vector<std::vector<Held>>& all) {
  std::vector<std::vector<Held>> by_tensor(tensors.size());
  for (const std::vector<Held>& held : all)
    for (const Held& part : held) by_tensor.at(size_t(part.tensor)).push_back(part);
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (!tensors[t].sharded) continue;
    std::vector<Held>& parts = by_tensor[t];
    std::sort(parts.begin(), parts.end(), [](const Held& a, const Held& b) { return a.first < b.first; });
    int64_t end = 0;
    for (const Held& part : parts) {
      if (part.first != end)
        throw Error(tensors[t].name, "the ranks' parts of it leave gaps or overlap",
                    "let each byte of it belong to one rank, in the order of ranks");
      end += part.n_bytes;
    }
    if (end != n_bytes_of(tensors[t]))
      throw Error(tensors[t].name, "no rank holds its last part",
                  "let each byte of it belong to one rank, in the order of ranks");
  }
}

/// Pieces are ascending by tensor and byte: the first that ends behind `byte`.
size_t piece_at(const std::vector<Piece>& pieces, int64_t tensor, int64_t byte) {
  const auto found = std::partition_point(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    return piece.tensor < tensor || (piece.tensor == tensor && piece.first_byte + piece.n_bytes <= byte);
  });
  return size_t(found - pieces.begin());
}

}  // namespace

ShardExchange::ShardExchange(Communicator& comm, const std::vector<CheckpointTensor>& tensors,
                             const std::vector<Piece>& pieces) {
  const std::vector<std::vector<Held>> all = held_by_all(comm, held_here(tensors));
  all_or_none(comm, [&] { check_complete(tensors, all); });
  for (int from = 0; from < comm.size(); ++from) {
    int64_t at = 0;
    for (const Held& part : all[size_t(from)]) {
      for (int64_t done = 0; done < part.n_bytes;) {
        const int64_t byte = part.first + done;
        const size_t p = piece_at(pieces, part.tensor, byte);
        const int64_t in_piece = byte - pieces[p].first_byte;
        const int64_t n = std::min(part.n_bytes - done, pieces[p].n_bytes - in_piece);
        if (from == comm.rank()) sends_.push_back({pieces[p].owner, at, p, in_piece, n});
        if (pieces[p].owner == comm.rank()) receives_.push_back({from, at, p, in_piece, n});
        done += n;
        at += n;
      }
    }
    if (from == comm.rank()) n_bytes_ = at;
  }
}

void ShardExchange::run(Communicator& comm, const std::byte* parts, const std::vector<char*>& pieces) const {
  comm.sleeping_barrier();  // what follows spins
  std::vector<MPI_Request> requests;
  requests.reserve(sends_.size() + receives_.size());
  const MPI_Comm ranks = mpi_comm(comm);
  for (const Transfer& t : receives_) {
    if (t.rank == comm.rank()) continue;
    MPI_Request& request = requests.emplace_back(MPI_REQUEST_NULL);
    LOCKSTEP_MPI(
        MPI_Irecv(pieces[t.piece] + t.in_piece, int(t.n_bytes), MPI_BYTE, t.rank, kTag, ranks, &request));
  }
  for (const Transfer& t : sends_) {
    if (t.rank == comm.rank()) {
      std::memcpy(pieces[t.piece] + t.in_piece, parts + t.at, size_t(t.n_bytes));
      continue;
    }
    MPI_Request& request = requests.emplace_back(MPI_REQUEST_NULL);
    LOCKSTEP_MPI(MPI_Isend(parts + t.at, int(t.n_bytes), MPI_BYTE, t.rank, kTag, ranks, &request));
  }
  LOCKSTEP_MPI(MPI_Waitall(int(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
}

}  // namespace lockstep::checkpoint_format
