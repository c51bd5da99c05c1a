// The stages of writing a checkpoint file: the layout by rank 0, the content by all, and the whole.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint_format.h"

namespace lockstep::checkpoint_format {

/// Rank 0 only. Creates (or replaces) the HDF5 file `path` and its folder: attributes,
/// checksums, and a contiguous dataset per entry, whose content is zeros with its disk space
/// reserved. Returns where the content of each non-empty dataset goes. Throws Error, naming
/// the bytes needed and free where the disk is too full.
std::vector<ContentRange> lay_out(const std::string& path, const CheckpointInfo& info,
                                  const std::vector<CheckpointEntry>& entries);

/// A piece's bytes in this rank's memory, for each piece of the state; null for those of other ranks.
using PieceData = std::vector<const char*>;

/// Collective. Every rank opens the laid-out file, writes the pieces that it owns and syncs them. All ranks
/// throw AgreedError if any fails.
void write_content(Communicator& comm, const std::string& path, const std::vector<CheckpointTensor>& tensors,
                   const std::vector<Piece>& pieces, const PieceData& data);

/// Collective. The whole commit of save_checkpoint(); of `tensors` only names, shapes and types are
/// looked at. Ranks sleep while they wait for one another.
std::string write_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                             const std::vector<CheckpointTensor>& tensors, const std::vector<Piece>& pieces,
                             const PieceData& data);

/// Collective. Does all that a save of these tensors does but for their content: the layout with its space,
/// opening on all ranks, sync; then removes the file. Throws AgreedError where a save would fail.
void probe_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                      const std::vector<CheckpointTensor>& tensors);

}  // namespace lockstep::checkpoint_format
