// Which checkpoints a folder holds, which may go, and the links to the last and the best.
#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/files/files.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

int64_t step_of(const std::string& name) {
  constexpr std::string_view kHead = "step-", kTail = ".h5";
  if (!name.starts_with(kHead) || !name.ends_with(kTail) || name.size() <= kHead.size() + kTail.size())
    return -1;
  const char* first = name.data() + kHead.size();
  const char* last = name.data() + name.size() - kTail.size();
  int64_t step = -1;
  const auto [end, failure] = std::from_chars(first, last, step);
  return failure == std::errc() && end == last ? step : -1;
}

bool is_temporary(const std::string& name) {
  return (name.starts_with(".step-") && name.ends_with(".h5.tmp")) ||
         name == std::string(kLastLink) + ".tmp" || name == std::string(kBestLink) + ".tmp";
}

/// NAME.TAIL, or NAME.TAIL.2 …: a name that is free.
std::string free_name(const std::string& path, const char* tail) {
  std::string name = path + tail;
  for (int i = 2; fs::exists(name); ++i) name = path + tail + "." + std::to_string(i);
  return name;
}

std::vector<std::string> file_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    names.push_back(it->path().filename().string());
  }
  return names;
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& folder) {
  std::vector<std::string> names = file_names(folder);
  std::erase_if(names, [](const std::string& name) { return step_of(name) < 0; });
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(step_of(a), a) < std::pair(step_of(b), b);
  });
  for (std::string& name : names) name = (fs::path(folder) / name).string();
  return names;
}

std::vector<std::string> list_temporary_files(const std::string& folder) {
  std::vector<std::string> names = file_names(folder);
  std::erase_if(names, [](const std::string& name) { return !is_temporary(name); });
  std::sort(names.begin(), names.end());
  for (std::string& name : names) name = (fs::path(folder) / name).string();
  return names;
}

int64_t checkpoint_step(const std::string& path) { return step_of(fs::path(path).filename().string()); }

bool is_checkpoint_file_name(const std::string& name) {
  if (step_of(name) >= 0 || is_temporary(name) || name == kLastLink || name == kBestLink) return true;
  for (const char* tail : {".h5.damaged", ".h5.superseded"}) {
    const size_t at = name.rfind(tail);
    if (at == std::string::npos || step_of(name.substr(0, at + 3)) < 0) continue;
    const std::string number = name.substr(at + std::string(tail).size());
    if (number.empty() || (number.size() > 1 && number[0] == '.' &&
                           number.find_first_not_of("0123456789", 1) == std::string::npos))
      return true;
  }
  return false;
}

std::vector<std::string> set_aside_later_checkpoints(const std::string& folder, int64_t last_step) {
  std::vector<std::string> aside;
  std::error_code error;
  for (const std::string& path : list_checkpoints(folder)) {
    if (checkpoint_step(path) <= last_step) continue;
    const std::string name = free_name(path, ".superseded");
    fs::rename(path, name, error);
    if (!error) aside.push_back(name);
  }
  for (const char* link : {kLastLink, kBestLink}) {
    const fs::path path = fs::path(folder) / link;
    if (fs::is_symlink(path, error) && !fs::exists(path, error)) fs::remove(path, error);
  }
  if (linked_checkpoint(folder, kLastLink) < 0) link_checkpoint(folder, kLastLink, last_step);
  return aside;
}

void prune_checkpoints(const std::string& folder, int keep, const std::function<bool(int64_t)>& protects) {
  std::error_code ignored;  // what cannot be deleted now is tried again at the next checkpoint
  for (const std::string& path : list_temporary_files(folder)) fs::remove(path, ignored);
  if (keep <= 0) return;
  std::vector<std::string> paths = list_checkpoints(folder);
  if (paths.size() <= static_cast<size_t>(keep)) return;
  paths.resize(paths.size() - static_cast<size_t>(keep));
  for (const std::string& path : paths) {
    if (!protects(checkpoint_step(path))) fs::remove(path, ignored);
  }
}

void copy_checkpoint(const std::string& path, const std::string& folder) {
  const std::string name = fs::path(path).filename().string();
  const std::string temporary = (fs::path(folder) / ("." + name + ".tmp")).string();
  std::error_code failure;
  fs::copy_file(path, temporary, fs::copy_options::overwrite_existing, failure);
  try {
    if (failure) throw_file_error(temporary, "copying a checkpoint to it", failure.value());
    FileHandle copy(temporary, O_RDWR);
    copy.sync();
    copy.close();
    rename_durably(temporary, (fs::path(folder) / name).string());
  } catch (...) {
    fs::remove(temporary, failure);
    throw;
  }
}

void link_checkpoint(const std::string& folder, const std::string& link, int64_t step) {
  const std::string name = checkpoint_file_name(step);
  std::error_code error;  // a convenience: some file systems have no links
  if (step < 0 || !fs::exists(fs::path(folder) / name, error)) return;
  const fs::path path = fs::path(folder) / link, temporary = path.string() + ".tmp";
  fs::remove(temporary, error);
  fs::create_symlink(name, temporary, error);
  if (!error) fs::rename(temporary, path, error);
}

int64_t linked_checkpoint(const std::string& folder, const std::string& link) {
  std::error_code error;
  const fs::path path = fs::path(folder) / link, target = fs::read_symlink(path, error);
  return !error && fs::exists(path, error) ? checkpoint_step(target.string()) : -1;
}

}  // namespace lockstep
