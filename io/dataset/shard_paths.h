// Which files a dataset's path stands for.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// The file in a folder whose shards are being replaced. A dataset with it does not open.
inline constexpr const char* kIncompleteMarker = ".lockstep-incomplete";

/// The path itself if it is a file; of a folder its .h5 and .hdf5 files, in the order of their names. Throws
/// Error: nothing there, HDF5 under other names beside them, or a folder whose files are just being replaced.
std::vector<std::string> shard_paths(const std::string& path);

}  // namespace lockstep
