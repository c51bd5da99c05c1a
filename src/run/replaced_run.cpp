#include "src/run/replaced_run.h"

#include <filesystem>
#include <fstream>

#include "io/checkpoint/checkpoint.h"
#include "io/files/files.h"
#include "io/files/metrics.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr const char *kMark = ".lockstep-run", *kAside = ".replaced", *kComplete = "complete";

bool begins_as_metrics(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) && line.starts_with("{\"kind\": \"start\"");
}

bool holds_a_checkpoint(const std::string& folder) {
  for (const std::string& path : list_checkpoints(folder)) {
    try {
      read_checkpoint_info(path);
      return true;
    } catch (const Error&) {  // of another program, or damaged
    }
  }
  return false;
}

void move_files(const std::string& from, const std::string& to, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const fs::path target = fs::path(to) / file;
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (!error) fs::rename(fs::path(from) / file, target, error);
    if (error) throw_file_error(target.string(), "moving a file of the old run to it", error.value());
  }
}

void remove_files(const std::string& folder, const std::vector<std::string>& files) {
  std::error_code ignored;
  for (const std::string& file : files) fs::remove(fs::path(folder) / file, ignored);
}

/// The folders of a run, where they are empty.
void remove_empty_folders(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : {"checkpoints", "tb", ""}) fs::remove(fs::path(folder) / name, ignored);
}

}  // namespace

bool is_run_folder(const std::string& folder) {
  std::error_code none;
  return fs::exists(fs::path(folder) / kMark, none) || begins_as_metrics(folder + "/metrics.jsonl") ||
         holds_a_checkpoint(folder + "/checkpoints");
}

void mark_run_folder(const std::string& folder) {
  const std::string path = folder + "/" + kMark;
  std::error_code none;
  if (fs::exists(path, none)) return;
  write_text_file_atomically(path,
                             "lockstep train writes to this folder; --overwrite may replace its files\n");
}

std::vector<std::string> files_of_run(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code none;
  const auto add = [&](const std::string& file) {
    if (fs::is_regular_file(fs::symlink_status(fs::path(folder) / file, none))) files.push_back(file);
  };
  // Metrics first: without them, but with checkpoints, a folder is still seen to be a run's.
  for (const char* file : {"metrics.jsonl", "confusion.json", "report.html", "communication.json", "run_id",
                           "tb/events.out.tfevents.lockstep"})
    add(file);
  fs::directory_iterator it(fs::path(folder) / "checkpoints", none);
  for (const fs::directory_iterator end; !none && it != end; it.increment(none)) {
    const std::string name = it->path().filename().string();
    if (is_checkpoint_file_name(name)) files.push_back("checkpoints/" + name);
  }
  return files;
}

ReplacedRun::ReplacedRun(std::string folder)
    : folder_(std::move(folder)), aside_(folder_ + "/" + kAside), complete_(aside_ + "/" + kComplete) {}

bool ReplacedRun::is_aside() const {
  std::error_code none;
  return fs::is_directory(aside_, none);
}

void ReplacedRun::recover() const {
  if (!is_aside()) return;
  std::error_code none;
  if (!fs::exists(complete_, none)) {
    move_files(aside_, folder_, files_of_run(aside_));  // it died between two files
    remove_empty_folders(aside_);
  } else if (!list_checkpoints(folder_ + "/checkpoints").empty()) {
    forget();
  }
}

void ReplacedRun::move_aside() const {
  std::error_code error;
  fs::create_directories(aside_, error);
  if (error) throw_file_error(aside_, "creating a folder for the old run", error.value());
  try {
    move_files(folder_, aside_, files_of_run(folder_));
    write_text_file_atomically(complete_, "the run before, kept until the new one has saved a checkpoint\n");
  } catch (...) {
    move_files(aside_, folder_, files_of_run(aside_));
    remove_empty_folders(aside_);
    throw;
  }
}

void ReplacedRun::put_back() const {
  remove_files(folder_, files_of_run(folder_));
  // From here on a process that dies leaves what recover() puts back.
  std::error_code ignored;
  fs::remove(complete_, ignored);
  move_files(aside_, folder_, files_of_run(aside_));
  remove_empty_folders(aside_);
}

void ReplacedRun::forget() const {
  if (!is_aside()) return;
  remove_files(aside_, files_of_run(aside_));
  std::error_code ignored;
  fs::remove(complete_, ignored);
  remove_empty_folders(aside_);
}

}  // namespace lockstep
