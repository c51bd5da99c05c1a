// lockstep verify PATH: checksums of a checkpoint, a dataset or a whole run folder.
#include <fmt/format.h>

#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/dataset.h"
#include "jobs/command.h"
#include "jobs/path_kind.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

int print_problems(const std::string& path, const std::vector<std::string>& problems,
                   const std::string& good) {
  if (problems.empty()) {
    fmt::print("{}: {}\n", path, good);
    return 0;
  }
  for (const std::string& problem : problems)
    fmt::print("{}: DAMAGED: {}\n", printable(path), printable_lines(problem));
  return 1;
}

/// A run that goes on deletes its older checkpoints: one that has gone while it was read is no damage.
int verify_one(const std::string& path) {
  std::vector<std::string> problems;
  try {
    problems = verify_checkpoint(path);
  } catch (const Error& error) {
    problems = {error.what()};
  }
  if (std::error_code none; !problems.empty() && !std::filesystem::exists(path, none)) {
    fmt::print("{}: gone meanwhile, as older checkpoints of a run that goes on do\n", path);
    return 0;
  }
  return print_problems(path, problems, "whole");
}

/// Every checkpoint of a run; temporary files and links that point nowhere are told, but no damage.
int verify_run(const std::string& path) {
  const std::string folder = checkpoints_of(path);
  const std::vector<std::string> checkpoints = list_checkpoints(folder);
  if (checkpoints.empty()) throw Error(path, "the run folder holds no checkpoints yet", "train first");
  int status = 0;
  for (const std::string& checkpoint : checkpoints) {
    status = std::max(status, verify_one(checkpoint));
  }
  for (const std::string& temporary : list_temporary_files(folder)) {
    fmt::print("{}: a save under way, or the remains of one (lockstep repair removes them)\n", temporary);
  }
  for (const char* link : {kLastLink, kBestLink}) {
    const auto file = std::filesystem::path(folder) / link;
    if (!std::filesystem::is_symlink(file) || linked_checkpoint(folder, link) >= 0) continue;
    fmt::print("{}: points at no checkpoint (lockstep repair mends it)\n", file.string());
  }
  return status;
}

}  // namespace

static int verify_command(const Words& words) {
  CommandLine line("verify PATH",
                   "Compares a checkpoint, a run folder's checkpoints or a dataset with their checksums.\n"
                   "Exit status 1 if anything is damaged.",
                   {"PATH"});
  if (!line.parse(words)) return 0;
  const std::string path = line.get<std::string>("PATH");
  switch (path_kind(path)) {
    case PathKind::kCheckpoint: return verify_one(path);
    case PathKind::kRunFolder: return verify_run(path);
    default: {
      const Dataset dataset = Dataset::open(path);
      int64_t n_checked = 0, n_unchecked = 0;
      const std::vector<std::string> problems = dataset.verify(&n_checked, &n_unchecked);
      return print_problems(
          path, problems,
          n_unchecked == 0
              ? fmt::format("whole, {} checksums hold", n_checked)
              : fmt::format(
                    "read whole; {} checksums hold, {} datasets carry none, so that changed values would not "
                    "be noticed there",
                    n_checked, n_unchecked));
    }
  }
}

namespace {
const bool verify_registered = commands().add(
    "verify", {.summary = "compare a dataset or checkpoint with its checksums", .run = verify_command}, 8);
}

}  // namespace lockstep
