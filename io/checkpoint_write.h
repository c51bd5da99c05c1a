// The two stages of writing a checkpoint file: the layout by rank 0, the content by all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint_format.h"

namespace lockstep::checkpoint_format {

/// Rank 0 only. Creates (or replaces) the HDF5 file `path` and its folder: attributes,
/// checksums, and a contiguous dataset per entry, whose content is zeros with its disk space
/// reserved. Returns where the content of each non-empty dataset goes. Throws Error, naming
/// the bytes needed and free where the disk is too full.
std::vector<ContentRange> lay_out(const std::string& path, const CheckpointInfo& info,
                                  const std::vector<CheckpointEntry>& entries);

/// Collective. Opens the laid-out file through MPI-IO; every rank writes the pieces that it
/// owns and syncs them. All ranks throw AgreedError if any fails.
void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces);

/// A rectangular part of an array whose elements follow one another in the file.
struct Block {
  Shape start, count;
};

/// Elements [first, first + n) of an array in row-major order as blocks, in order: partial
/// first rows, whole rows, partial last rows; at most 2*rank - 1 of them.
std::vector<Block> blocks_of(const Shape& shape, int64_t first, int64_t n);

}  // namespace lockstep::checkpoint_format
