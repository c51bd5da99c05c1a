#include "src/run/checkpoints/local_checkpoints.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

#include "comm/agreement.h"
#include "io/files/files.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// 16 hexadecimal digits, as run_id() makes them: it becomes part of a path whose files are deleted.
bool is_run_id(const std::string& text) {
  return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Rank 0. A new run gets a new one, so that copies of an earlier run in the same folder are not its own.
std::string run_id(const std::string& run, bool resumes) {
  const std::string path = run + "/run_id";
  std::string id;
  if (resumes && std::ifstream(path) >> id) {
    if (is_run_id(id)) return id;
    throw Error(path, "is not the id of a run (16 hexadecimal digits)",
                "remove the file: then the run goes on without the local copies that it may have");
  }
  std::random_device random;
  id = fmt::format("{:08x}{:08x}", random(), random());
  write_text_file_atomically(path, id + "\n");
  return id;
}

/// Whether this user owns it: others may write to /tmp too.
bool is_own(const fs::path& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 && status.st_uid == ::geteuid() && !S_ISLNK(status.st_mode);
}

/// The hosts' folders in that of a run.
std::vector<std::string> host_folders(const std::string& run_folder) {
  std::vector<std::string> folders;
  std::error_code error;
  if (!is_own(run_folder)) return folders;
  for (fs::directory_iterator it(run_folder, error), end; !error && it != end; it.increment(error))
    if (is_own(it->path())) folders.push_back(it->path().string());
  return folders;
}

/// Deletes what copies have left in a run's folder, and the folders where nothing else is in them.
void remove_copies(const std::string& run_folder) {
  std::error_code ignored;
  for (const std::string& folder : host_folders(run_folder)) {
    std::vector<fs::path> own;
    for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored))
      if (is_checkpoint_file_name(it->path().filename().string())) own.push_back(it->path());
    for (const fs::path& path : own) fs::remove(path, ignored);
    fs::remove(folder, ignored);
  }
  fs::remove(run_folder, ignored);
}

/// The newest whole checkpoint in any host's folder that this host sees; "" if there is none.
std::string newest_copy(const std::string& run_folder) {
  std::vector<std::string> paths;
  for (const std::string& folder : host_folders(run_folder)) {
    for (const std::string& path : list_checkpoints(folder))
      if (is_own(path)) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end(), [](const std::string& a, const std::string& b) {
    return checkpoint_step(a) > checkpoint_step(b);
  });
  const auto whole = std::find_if(paths.begin(), paths.end(),
                                  [](const std::string& path) { return verify_checkpoint(path).empty(); });
  return whole == paths.end() ? "" : *whole;
}

}  // namespace

std::vector<int> ranks_that_keep_copies(const std::vector<std::string>& hosts) {
  std::vector<int> ranks;
  std::set<std::string> seen;
  for (size_t r = 0; r < hosts.size() && seen.size() < 2; ++r)
    if (seen.insert(hosts[r]).second) ranks.push_back(static_cast<int>(r));
  return ranks;
}

LocalCheckpoints::LocalCheckpoints(const Job& job, Communicator& comm, const std::string& run, bool resumes)
    : job_(job), comm_(comm) {
  if (job.local_checkpoints.folder.empty()) return;
  std::string id;
  check_on_root(comm, [&] { id = run_id(run, resumes); });
  id = comm.broadcast_string(id);
  run_folder_ = (fs::path(job.local_checkpoints.folder) / (job.name + "-" + id)).string();
  folder_ = (fs::path(run_folder_) / host_name()).string();
  const std::vector<int> ranks = ranks_that_keep_copies(comm.all_gather_strings(host_name()));
  keeps_ = std::find(ranks.begin(), ranks.end(), comm.rank()) != ranks.end();
  all_or_none(comm, [&] {
    std::error_code error;
    if (keeps_) fs::create_directories(folder_, error);
    if (keeps_ && !error && (!is_own(run_folder_) || !is_own(folder_)))
      throw Error(folder_, "the folder for local checkpoints belongs to somebody else",
                  "set checkpoint.local.folder to a folder of your own");
    if (error)
      throw Error(folder_, "cannot create the folder for local checkpoints: " + error.message(),
                  "set checkpoint.local.folder to a folder on this host's own disk");
  });
}

LocalCheckpoints::~LocalCheckpoints() {
  if (std::uncaught_exceptions() > 0) CheckpointSaver::leave(std::move(saver_));
}

std::vector<std::string> LocalCheckpoints::fetch(const std::string& checkpoints) {
  if (!is_on()) return {};
  const std::string mine = comm_.local_rank() == 0 ? newest_copy(run_folder_) : "";
  const int64_t step = comm_.all_reduce_max(mine.empty() ? -1 : checkpoint_step(mine));
  const std::vector<std::string> shared = list_checkpoints(checkpoints);
  if (step <= comm_.all_reduce_max(shared.empty() ? -1 : checkpoint_step(shared.back()))) return {};
  const bool has_it = !mine.empty() && checkpoint_step(mine) == step;
  const auto giver = static_cast<int>(-comm_.all_reduce_max(has_it ? -comm_.rank() : -comm_.size()));
  std::string told;
  if (giver == comm_.rank()) {
    try {
      copy_checkpoint(mine, checkpoints);
      told = fmt::format("step {} comes from a local copy of {} ({})", step, host_name(), mine);
    } catch (const Error& error) {
      told = fmt::format("a local copy of step {} could not be taken over: {}", step, error.what());
    }
  }
  return {comm_.broadcast_string(told, giver)};
}

void LocalCheckpoints::prepare(std::vector<CheckpointTensor> tensors) {
  if (keeps_)
    saver_ =
        std::make_unique<CheckpointSaver>(Communicator::self(), folder_, std::move(tensors), job_.device);
}

void LocalCheckpoints::save(Stream& stream, const CheckpointInfo& info) {
  if (saver_ && !saver_->is_busy()) saver_->start(stream, info, [this] { tidy(); });
}

void LocalCheckpoints::hold_changes() {
  if (saver_) saver_->hold_changes();
}

std::string LocalCheckpoints::poll() {
  const std::optional<SaveOutcome> ended = saver_ ? saver_->poll() : std::nullopt;
  return ended ? ended->error : "";
}

void LocalCheckpoints::end(bool finished) {
  if (!saver_) return;
  saver_->wait();
  if (finished) remove_copies(run_folder_);
}

void LocalCheckpoints::tidy() const {
  prune_checkpoints(folder_, job_.local_checkpoints.keep, [](int64_t) { return false; });
}

}  // namespace lockstep
