#include "jobs/path_kind.h"

#include <filesystem>
#include <fstream>

#include "io/checkpoint/checkpoint.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// Names of a checkpoint's attributes stand in the first bytes, also of one that is damaged elsewhere.
bool begins_as_checkpoint(const std::string& path) {
  std::string head(64 << 10, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  return head.find("step_in_epoch") != std::string::npos && head.find("header_checksum") != std::string::npos;
}

}  // namespace

PathKind path_kind(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::exists(path)) throw Error(path, "there is no such file or folder", "check the path");
  if (fs::is_directory(path))
    return fs::is_directory(path + "/checkpoints") || !list_checkpoints(path).empty() ? PathKind::kRunFolder
                                                                                      : PathKind::kDataset;
  const fs::path name = fs::canonical(path).filename();  // best.h5 is a link to a checkpoint
  if (name.extension() == ".yaml" || name.extension() == ".yml") return PathKind::kJob;
  if (name.string().starts_with("step-")) return PathKind::kCheckpoint;
  require_regular_file(path);  // reading a named pipe would wait for its writer
  try {
    read_checkpoint_info(path);
    return PathKind::kCheckpoint;
  } catch (const Error&) {
    return begins_as_checkpoint(path) ? PathKind::kCheckpoint : PathKind::kDataset;
  }
}

std::string checkpoints_of(const std::string& run_folder) {
  const std::string inside = run_folder + "/checkpoints";
  return std::filesystem::is_directory(inside) ? inside : run_folder;
}

}  // namespace lockstep
