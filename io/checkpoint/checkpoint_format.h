// What is inside a checkpoint file, shared by its writer and its reader. Only the
// checkpoint_*.cpp files include this.
//
//   [ HDF5 file: header, datasets ][ seal ]
//
// The seal (seal.h) covers every byte but the datasets' content, so that a damaged header is a sentence and
// not a crash inside the library. Content is covered by the attribute `checksum` of each dataset. A file that
// h5copy or h5repack has rewritten has no seal and can be read all the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "io/files/seal.h"

namespace lockstep::checkpoint_format {

inline constexpr int64_t kVersion = 1;

/// XXH3_64 over info and entries (in any order). Stored in /'s attribute `header_checksum`.
uint64_t header_checksum(const CheckpointInfo& info, std::vector<CheckpointEntry> entries);

/// The state cut into pieces, dealt over ranks. A piece is one piece of a tensor's checksum
/// (1 MiB, or the tensor's rest); rank r of P owns the pieces that begin in the r-th of P
/// equal parts of the concatenated state. So each rank hashes and writes one contiguous part.
struct Piece {
  int64_t tensor = 0;                   // index into the list of tensors
  int64_t first_byte = 0, n_bytes = 0;  // within the tensor
  int owner = 0;
};
std::vector<Piece> deal_pieces(const std::vector<CheckpointTensor>& tensors, int n_ranks);

inline int64_t n_bytes_of(const CheckpointTensor& tensor) {
  return tensor.shape.n_elements() * size_of(tensor.dtype);
}

}  // namespace lockstep::checkpoint_format
