#include "comm/reduction/peer_process.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>

namespace lockstep {
namespace {

struct Stat {
  char state = 'X';    // R S D … run or sleep; T t stopped; Z X ended
  uint64_t start = 0;  // field 22
};

/// /proc/PID/stat: "PID (NAME) STATE PPID …", where NAME may hold anything.
Stat read_stat(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  Stat stat;
  if (name_end == std::string::npos) return stat;
  std::istringstream fields(text.substr(name_end + 1));
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start;
  return stat;
}

std::string name_space(const char* kind) {
  struct stat status = {};
  if (stat((std::string("/proc/self/ns/") + kind).c_str(), &status) != 0) return "";
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

}  // namespace

ProcessIdentity this_process() {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  const std::hash<std::string> hash;
  ProcessIdentity process;
  process.pid = getpid();
  process.start = read_stat(process.pid).start;
  process.host = hash(boot + " " + name_space("net"));
  process.pid_space = hash(boot + " " + name_space("pid"));
  return process;
}

ProcessState process_state(const ProcessIdentity& process) {
  const Stat stat = read_stat(process.pid);
  if (stat.start != process.start || stat.state == 'Z' || stat.state == 'X') return ProcessState::kGone;
  return stat.state == 'T' || stat.state == 't' ? ProcessState::kStopped : ProcessState::kRuns;
}

int watch_process_end(const ProcessIdentity& process) {
  const auto handle = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  if (handle >= 0 && process_state(process) == ProcessState::kGone) {  // perhaps another process by now
    close(handle);
    return -1;
  }
  return handle;
}

}  // namespace lockstep
