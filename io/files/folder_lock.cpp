#include "io/files/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "comm/communicator.h"
#include "io/files/files.h"
#include "io/files/json_parse.h"
#include "io/files/metrics.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

std::string read_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

/// State and start (in clock ticks since the host's) of a process; none where /proc shows no such process.
std::optional<std::pair<char, std::string>> process(int64_t pid) {
  const std::string line = read_line(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= line.size()) return {};
  std::string start;
  size_t at = name_end + 2;
  const char state = line[at];
  for (int field = 3; field < 22 && at != std::string::npos; ++field) {
    at = line.find(' ', at);
    if (at != std::string::npos) ++at;
  }
  if (at == std::string::npos) return {};
  return std::pair(state, line.substr(at, line.find(' ', at) - at));
}

/// What tells one place of process numbers from another: a host's start, and its name space of processes.
std::string place_of_processes() {
  char space[64];
  const ssize_t n = ::readlink("/proc/self/ns/pid", space, sizeof space);
  const std::string boot = read_line("/proc/sys/kernel/random/boot_id");
  if (n <= 0 || boot.empty()) return "";
  return boot + " " + std::string(space, static_cast<size_t>(n));
}

std::string describe_this_process(const std::string& command) {
  const std::time_t now = std::time(nullptr);
  char since[32];
  std::tm local{};
  std::strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &local));
  const auto self = process(::getpid());
  JsonObject line;
  line.set("host", host_name()).set("pid", int64_t{::getpid()}).set("since", since).set("command", command);
  line.set("process_start", self ? self->second : "").set("place", place_of_processes());
  return line.str() + "\n";
}

struct Holder {
  std::string text;
  timespec touched{};
  bool is_there = false;
};

Holder read_holder(const std::string& path) {
  Holder holder;
  std::ifstream file(path);  // opening it makes a network file system look anew
  struct stat status;
  if (!file || ::stat(path.c_str(), &status) != 0) return holder;
  holder.text.assign(std::istreambuf_iterator<char>(file), {});
  holder.touched = status.st_mtim;
  holder.is_there = true;
  return holder;
}

std::string text_of(const MetricsLine& line, const char* key) {
  const std::string* text = line.text(key);
  return text ? *text : "";
}

/// "lockstep train on node7, process 4711, since …".
std::string describe(const Holder& holder) {
  try {
    const MetricsLine line = parse_json_object(holder.text);
    const double* pid = line.number("pid");
    return fmt::format("lockstep {} on {}, process {:.0f}, since {}", text_of(line, "command"),
                       text_of(line, "host"), pid ? *pid : 0, text_of(line, "since"));
  } catch (const Error&) {
    return "a process that does not say which";
  }
}

/// Whether its process is alive; none where this host cannot tell.
std::optional<bool> is_alive(const Holder& holder) {
  const std::string here = place_of_processes();
  if (here.empty()) return {};
  try {
    const MetricsLine line = parse_json_object(holder.text);
    const double* pid = line.number("pid");
    if (!pid || text_of(line, "process_start").empty() || text_of(line, "place") != here) return {};
    const auto found = process(static_cast<int64_t>(*pid));
    if (!found && ::kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH) return false;
    if (!found) return {};  // /proc hides it
    return found->first != 'Z' && found->first != 'X' && found->second == text_of(line, "process_start");
  } catch (const Error&) {
    return {};
  }
}

double seconds_between(const timespec& a, const timespec& b) {
  return static_cast<double>(b.tv_sec - a.tv_sec) + 1e-9 * static_cast<double>(b.tv_nsec - a.tv_nsec);
}

/// A file of this process's own in the folder. Its time is that of the file system's clock, as the lock's.
class Draft {
 public:
  Draft(const std::string& path, const std::string& text)
      : path_(fmt::format("{}.{}-{}", path, host_name(), ::getpid())) {
    FileHandle file(path_, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
    file.close();
  }
  ~Draft() { ::unlink(path_.c_str()); }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const std::string& path() const { return path_; }
  timespec time_now() const {
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
    struct stat status {};
    ::stat(path_.c_str(), &status);
    return status.st_mtim;
  }
  /// False: somebody holds it.
  bool put_in_place(const std::string& lock, const std::string& text) const {
    if (::link(path_.c_str(), lock.c_str()) == 0) return true;
    if (errno == EEXIST) return false;
    struct stat status;  // a network may lose the answer to a link that was made
    if (::stat(path_.c_str(), &status) == 0 && status.st_nlink == 2) return true;
    const int fd = ::open(lock.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);  // no links there
    if (fd < 0 && errno == EEXIST) return false;
    if (fd < 0) throw_file_error(lock, "creating", errno);
    ::close(fd);
    FileHandle(lock, O_WRONLY).write_at(text.data(), static_cast<int64_t>(text.size()), 0);
    return true;
  }

 private:
  std::string path_;
};

/// Takes a dead process's lock out of the way. Where another one has been quicker, and the lock is that one's
/// now, it is put back.
void remove_dead(const std::string& lock, const Holder& dead) {
  const std::string aside = fmt::format("{}.old.{}-{}", lock, host_name(), ::getpid());
  if (::rename(lock.c_str(), aside.c_str()) != 0) return;  // gone by itself
  std::error_code ignored;
  if (read_holder(aside).text != dead.text) std::filesystem::create_hard_link(aside, lock, ignored);
  ::unlink(aside.c_str());
}

[[noreturn]] void throw_held(const std::string& folder, const Holder& holder) {
  throw Error(folder, "it is in use by " + describe(holder),
              fmt::format("wait for it, stop it, or choose another --out; once that process is gone the next "
                          "one takes over by itself ({}/{} says who holds it)",
                          folder, FolderLock::kName));
}

}  // namespace

FolderLock::FolderLock(std::string folder, const std::string& command)
    : path_(folder + "/" + kName), text_(describe_this_process(command)) {
  const Draft draft(path_, text_);
  const auto start = std::chrono::steady_clock::now();
  std::optional<std::string> waited_for;
  timespec first_seen{};
  while (!draft.put_in_place(path_, text_)) {
    const Holder holder = read_holder(path_);
    if (!holder.is_there) continue;
    std::optional<bool> alive = is_alive(holder);
    if (!alive && waited_for == holder.text && seconds_between(first_seen, holder.touched) != 0) alive = true;
    if (!alive && seconds_between(holder.touched, draft.time_now()) > kSilent_s) alive = false;
    if (alive && *alive) {
      if (std::chrono::steady_clock::now() - start > std::chrono::duration<double>(kEnding_s))
        throw_held(folder, holder);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    if (alive) {
      fmt::print(stderr, "lockstep: {}: {} is gone; taking over\n", folder, describe(holder));
      remove_dead(path_, holder);
      continue;
    }
    if (waited_for != holder.text) {
      fmt::print(stderr, "lockstep: {}: waiting up to {:.0f} s for a sign of life of {}\n", folder, kSilent_s,
                 describe(holder));
      waited_for = holder.text;
      first_seen = holder.touched;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  beats_ = std::thread([this] { beat(); });
}

FolderLock::~FolderLock() {
  {
    const std::lock_guard guard(mutex_);
    ends_ = true;
  }
  ending_.notify_all();
  beats_.join();
  if (read_holder(path_).text == text_) ::unlink(path_.c_str());
}

void FolderLock::beat() {
  std::unique_lock guard(mutex_);
  while (!ending_.wait_for(guard, std::chrono::duration<double>(kBeat_s), [&] { return ends_; })) {
    const Holder holder = read_holder(path_);
    if (holder.is_there && holder.text != text_) lost_ = true;
    if (holder.is_there && !lost_) ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
  }
}

void FolderLock::check_held() const {
  const Holder holder = read_holder(path_);
  if (!lost_ && (!holder.is_there || holder.text == text_)) return;
  throw Error(path_, "the folder has been taken over by " + describe(holder),
              "this process was stopped or cut off from the disk for long; leave the run to the other one");
}

}  // namespace lockstep
