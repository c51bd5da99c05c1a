// Repair by renames and links only. Which checkpoint is the best one says the newest whole one; where
// that file is gone, the one before says which was the best until then, and so on.
#include "src/run/checkpoints/checkpoint_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "kernels/error.h"
#include "src/run/checkpoints/train_state.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

std::string name_of_file(const std::string& path) { return fs::path(path).filename().string(); }

/// NAME.damaged, or NAME.damaged.2 …: a name that is free.
std::string name_for_damaged(const std::string& path) {
  std::string name = path + ".damaged";
  for (int i = 2; fs::exists(name); ++i) name = fmt::format("{}.damaged.{}", path, i);
  return name;
}

/// The step of the best checkpoint that is left; -1 where no validation says one.
int64_t best_step_left(const std::vector<std::string>& whole) {
  for (auto path = whole.rbegin(); path != whole.rend(); ++path) {
    const int64_t best = read_train_state(read_checkpoint_info(*path)).best_step;
    const auto is_best = [&](const std::string& other) { return checkpoint_step(other) == best; };
    if (best >= 0 && std::any_of(whole.begin(), whole.end(), is_best)) return best;
  }
  return -1;
}

void mend_link(const std::string& folder, const char* link, int64_t step, CheckpointRepair& repair) {
  const int64_t before = linked_checkpoint(folder, link);
  std::error_code error;
  const fs::path path = fs::path(folder) / link;
  if (step >= 0 && step != before) {
    link_checkpoint(folder, link, step);
    if (linked_checkpoint(folder, link) == step) {
      repair.done.push_back(fmt::format("{} points at {} now", link, checkpoint_file_name(step)));
    } else {
      repair.failed.push_back(fmt::format("{} cannot be pointed at {}", link, checkpoint_file_name(step)));
    }
  } else if (step < 0 && fs::is_symlink(path, error) && !fs::exists(path, error)) {
    if (fs::remove(path, error)) {
      repair.done.push_back(fmt::format("removed the link {}, which pointed at nothing", link));
    } else {
      repair.failed.push_back(fmt::format("the link {} points at nothing: {}", link, error.message()));
    }
  }
}

}  // namespace

CheckpointRepair repair_checkpoints(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator(folder, error);
  if (error) throw Error(folder, "cannot be read: " + error.message(), "name a run folder that holds one");
  CheckpointRepair repair;
  for (const std::string& path : list_temporary_files(folder)) {
    if (fs::remove(path, error)) {
      repair.done.push_back(
          fmt::format("removed {}, the remains of an interrupted save", name_of_file(path)));
    } else {
      repair.failed.push_back(fmt::format("{} cannot be removed: {}", path, error.message()));
    }
  }
  std::vector<std::string> whole;
  for (const std::string& path : list_checkpoints(folder)) {
    const std::vector<std::string> problems = verify_checkpoint(path);
    if (problems.empty()) {
      whole.push_back(path);
      continue;
    }
    ++repair.n_damaged;
    const std::string aside = name_for_damaged(path);
    fs::rename(path, aside, error);
    if (!error) {
      repair.done.push_back(
          fmt::format("renamed {} to {}: {}", name_of_file(path), name_of_file(aside), problems[0]));
    } else {
      repair.failed.push_back(
          fmt::format("{} is damaged ({}) and cannot be renamed: {}", path, problems[0], error.message()));
    }
  }
  repair.n_whole = static_cast<int>(whole.size());
  mend_link(folder, kLastLink, whole.empty() ? -1 : checkpoint_step(whole.back()), repair);
  mend_link(folder, kBestLink, best_step_left(whole), repair);
  return repair;
}

}  // namespace lockstep
