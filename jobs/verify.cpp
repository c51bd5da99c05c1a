// lockstep verify PATH: checksums of a checkpoint, a dataset or a whole run folder.
#include <fmt/format.h>

#include <filesystem>

#include "io/checkpoint.h"
#include "io/dataset.h"
#include "jobs/command.h"
#include "jobs/path_kind.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

int print_problems(const std::string& path, const std::vector<std::string>& problems,
                   const std::string& good) {
  if (problems.empty()) {
    fmt::print("{}: {}\n", path, good);
    return 0;
  }
  for (const std::string& problem : problems) fmt::print("{}: DAMAGED: {}\n", path, problem);
  return 1;
}

}  // namespace

int verify_command(const Words& words) {
  CommandLine line("verify PATH",
                   "Compares a checkpoint, a run folder's checkpoints or a dataset with their checksums.\n"
                   "Exit status 1 if anything is damaged.",
                   {"PATH"});
  if (!line.parse(words)) return 0;
  const std::string path = line.get<std::string>("PATH");
  switch (path_kind(path)) {
    case PathKind::kCheckpoint: return print_problems(path, verify_checkpoint(path), "whole");
    case PathKind::kRunFolder: {
      const std::vector<std::string> checkpoints = list_checkpoints(path + "/checkpoints");
      if (checkpoints.empty()) throw Error(path, "the run folder holds no checkpoints yet", "train first");
      int status = 0;
      for (const std::string& checkpoint : checkpoints) {
        status = std::max(status, print_problems(checkpoint, verify_checkpoint(checkpoint), "whole"));
      }
      return status;
    }
    default: {
      const Dataset dataset = Dataset::open(path);
      int64_t n_checked = 0, n_unchecked = 0;
      const std::vector<std::string> problems = dataset.verify(&n_checked, &n_unchecked);
      return print_problems(
          path, problems,
          n_unchecked == 0
              ? fmt::format("whole, {} checksums hold", n_checked)
              : fmt::format("readable; {} checksums hold, {} datasets carry none", n_checked, n_unchecked));
    }
  }
}

}  // namespace lockstep
