// What a path given on the command line is.
#pragma once

#include <string>

namespace lockstep {

enum class PathKind { kJob, kCheckpoint, kRunFolder, kDataset };

/// By name and content: *.yaml is a job; a file with the attributes of a checkpoint, or one
/// called like one, is a checkpoint; a folder with checkpoints/, or one that holds checkpoints, is
/// a run; anything else is taken for a dataset. Throws Error if nothing is there.
PathKind path_kind(const std::string& path);

/// Where the checkpoints of a run folder lie: RUN/checkpoints, or the folder itself.
std::string checkpoints_of(const std::string& run_folder);

}  // namespace lockstep
