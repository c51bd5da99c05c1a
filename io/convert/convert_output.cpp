// The lock is flock(2), which ends with its process, on this host or over NFS. Where the file system has no
// such locks, the lock file's existence counts, and it is taken over from a process of this host that is
// gone.
#include "io/convert/convert_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "io/dataset/shard_paths.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLockName = ".lockstep-convert.lock";
constexpr const char* kScratchPrefix = ".lockstep-convert-";

/// shard-00000.h5 …
bool is_shard(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.size() == 14 && name.starts_with("shard-") && name.ends_with(".h5") &&
         std::all_of(name.begin() + 6, name.begin() + 11, [](char c) { return c >= '0' && c <= '9'; });
}

/// What conversions leave when they are killed, besides the marker.
bool is_leftover(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == kLockName || name.starts_with(kScratchPrefix) || name == ".lockstep-convert";
}

void check_options(const ConvertOptions& options) {
  if (options.out.empty()) throw Error("convert", "no output folder is given", "add --out DIR");
  if (options.n_shards < 0 || options.n_shards > kMaxShards)
    throw Error("convert", fmt::format("{} shards are not possible", options.n_shards),
                fmt::format("give --shards from 1 to {}, or leave it out", kMaxShards));
  if (options.skip < 0)
    throw Error("convert", fmt::format("cannot skip {} rows", options.skip), "give --skip 0 or more");
  if (options.limit == 0)
    throw Error("convert", "a limit of 0 leaves no rows", "give --limit 1 or more, or leave it out");
}

void check_content(const ConvertOptions& options) {
  for (const auto& entry : fs::directory_iterator(options.out)) {
    if (is_leftover(entry.path())) continue;
    const bool is_marker = entry.path().filename() == kIncompleteMarker;
    if (!options.overwrite)
      throw Error(options.out,
                  is_marker ? "holds what is left of a conversion that was stopped while it moved its files"
                            : "the output folder is not empty",
                  is_marker ? "say --overwrite to convert again, or choose another --out"
                            : "choose another --out or delete it");
    if (entry.path().extension() == ".h5" && !is_shard(entry.path()))
      throw Error(entry.path().string(),
                  "is in the output folder and would be taken for a part of the dataset",
                  "choose another --out or delete it");
  }
}

/// "process 12 on host a" of a lock file, or nothing.
struct Holder {
  std::string host;
  pid_t process = 0;

  explicit Holder(const std::string& path) { std::ifstream(path) >> host >> process; }
  std::string text() const {
    return process > 0 ? fmt::format(" (process {} on host {})", process, host) : std::string();
  }
  bool is_gone() const {
    return process > 0 && host == host_name() && ::kill(process, 0) != 0 && errno == ESRCH;
  }
};

bool has_no_locks(int error) {
  return error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK || error == EINVAL;
}

void rename_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_file_error(to.string(), "renaming to it", errno);
}

}  // namespace

std::string shard_name(int64_t index) { return fmt::format("shard-{:05}.h5", index); }

ConvertOutput::ConvertOutput(const ConvertOptions& options) : out_(options.out) {
  check_options(options);
  try {
    lock();
    check_content(options);
    remove_leftovers();
    scratch_ = fmt::format("{}/{}{}-{}", out_, kScratchPrefix, host_name(), ::getpid());
    fs::create_directory(scratch_);
  } catch (const fs::filesystem_error& error) {
    throw Error(out_, "cannot be prepared as the output folder: " + error.code().message(),
                "choose a folder that you may write to");
  }
}

void ConvertOutput::lock() {
  const std::string path = out_ + "/" + kLockName;
  const std::string mine = fmt::format("{} {}\n", host_name(), ::getpid());
  const auto held = [&] {
    return Error(out_, "is being written by another conversion" + Holder(path).text(),
                 "wait for it, or choose another --out; if it is gone, delete " + path);
  };
  for (int attempt = 0; attempt < 100; ++attempt) {
    created_ = fs::create_directories(out_) || created_;
    FileHandle file;
    try {
      file = FileHandle(path, O_RDWR | O_CREAT);
    } catch (const Error&) {
      if (fs::exists(out_)) throw;
      continue;  // a conversion that failed removed the folder
    }
    if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (!has_no_locks(errno)) throw held();
      if (const Holder holder(path); holder.process > 0 && !holder.is_gone()) throw held();
    }
    struct stat opened {
    }, named{};
    if (::fstat(file.fd(), &opened) != 0 || ::stat(path.c_str(), &named) != 0 ||
        opened.st_ino != named.st_ino)
      continue;  // its holder removed it meanwhile
    file.resize(0);
    file.write_at(mine.data(), static_cast<int64_t>(mine.size()), 0);
    lock_ = std::move(file);
    return;
  }
  throw held();
}

void ConvertOutput::remove_leftovers() {
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(out_))
    if (is_leftover(entry.path()) && entry.path().filename() != kLockName) old.push_back(entry.path());
  for (const fs::path& path : old) fs::remove_all(path);
}

ConvertOutput::~ConvertOutput() {
  std::error_code ignored;
  if (!scratch_.empty()) fs::remove_all(scratch_, ignored);
  if (lock_.fd() >= 0) ::unlink((out_ + "/" + kLockName).c_str());  // while it is held
  lock_.reset();
  if (created_ && !published_) fs::remove(out_, ignored);
}

void ConvertOutput::publish(int64_t n_shards) {
  const fs::path out(out_), earlier = fs::path(scratch_) / "earlier", marker = out / kIncompleteMarker;
  std::vector<std::string> old;
  for (const auto& entry : fs::directory_iterator(out))
    if (is_shard(entry.path())) old.push_back(entry.path().filename().string());
  // One shard that takes the place of none or of itself does so in one step.
  const bool one_step =
      n_shards == 1 && (old.empty() || (old.size() == 1 && old[0] == shard_name(0))) && !fs::exists(marker);
  if (!one_step) {
    FileHandle file(marker.string(), O_WRONLY | O_CREAT);
    file.sync();
    sync_folder(out_);
  }
  int64_t n_moved = 0;
  size_t n_aside = 0;
  try {
    if (!one_step) fs::create_directory(earlier);
    for (; !one_step && n_aside < old.size(); ++n_aside)
      rename_file(out / old[n_aside], earlier / old[n_aside]);
    for (; n_moved < n_shards; ++n_moved)
      rename_file(fs::path(scratch_) / shard_name(n_moved), out / shard_name(n_moved));
    sync_folder(out_);
  } catch (...) {
    std::error_code ignored;
    if (one_step) throw;
    for (int64_t shard = 0; shard < n_moved; ++shard) fs::remove(out / shard_name(shard), ignored);
    for (size_t i = 0; i < n_aside; ++i) fs::rename(earlier / old[i], out / old[i], ignored);
    if (!ignored) fs::remove(marker, ignored);
    throw;
  }
  published_ = true;
  if (one_step) return;
  fs::remove(marker);
  sync_folder(out_);
}

}  // namespace lockstep
