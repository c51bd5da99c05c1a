// lockstep repair RUN: puts a run's checkpoints in order after a crash or a failing disk.
#include <fmt/format.h>

#include <filesystem>

#include "io/files/folder_lock.h"
#include "jobs/command.h"
#include "jobs/path_kind.h"
#include "kernels/error.h"
#include "src/run/checkpoints/checkpoint_repair.h"

namespace lockstep {

static int repair_command(const Words& words) {
  CommandLine line(
      "repair RUN",
      "Puts a run's checkpoints in order: removes temporary files of interrupted saves, renames\n"
      "damaged checkpoints to NAME.damaged, and mends the links last.h5 and best.h5. It deletes\n"
      "no data. Not while the run goes on. Exit status 0: in order now; 1: something could not\n"
      "be mended, or of the checkpoints none is whole.",
      {"RUN"});
  if (!line.parse(words)) return 0;
  const std::string path = line.get<std::string>("RUN");
  if (path_kind(path) != PathKind::kRunFolder)
    throw Error(path, "is not a run folder", "name the folder that training wrote to (--out)");

  const std::filesystem::path checkpoints = checkpoints_of(path);
  const FolderLock lock(checkpoints.filename() == "checkpoints" && checkpoints.has_parent_path()
                            ? checkpoints.parent_path().string()
                            : path,
                        "repair");
  const CheckpointRepair repair = repair_checkpoints(checkpoints.string());
  for (const std::string& change : repair.done) fmt::print("{}: {}\n", path, change);
  for (const std::string& failure : repair.failed) fmt::print("{}: FAILED: {}\n", path, failure);
  if (repair.done.empty() && repair.failed.empty()) fmt::print("{}: nothing to repair\n", path);
  fmt::print("{}: {} whole checkpoint{}{}\n", path, repair.n_whole, repair.n_whole == 1 ? "" : "s",
             repair.n_whole > 0     ? "; go on with --resume auto"
             : repair.n_damaged > 0 ? " left: start over with --overwrite"
                                    : " yet");
  const bool nothing_left = repair.n_whole == 0 && repair.n_damaged > 0;
  return repair.failed.empty() && !nothing_left ? 0 : 1;
}

namespace {
const bool repair_registered = commands().add(
    "repair", {.summary = "put a run's checkpoints in order after a crash", .run = repair_command}, 9);
}

}  // namespace lockstep
