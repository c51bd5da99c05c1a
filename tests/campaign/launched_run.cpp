#include "tests/campaign/launched_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/jobs/program.h"

namespace lockstep {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kPoll{2};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The largest number behind "step": in the last lines of a file of metrics.
int64_t last_step(const std::string& metrics) {
  int64_t step = 0;
  const size_t tail = metrics.size() > 4000 ? metrics.size() - 4000 : 0;
  constexpr std::string_view kKey = "\"kind\": \"train\", \"step\": ";
  for (size_t at = metrics.find(kKey, tail); at != std::string::npos; at = metrics.find(kKey, at + 1))
    step = std::max<int64_t>(step, std::atoll(metrics.c_str() + at + kKey.size()));
  return step;
}

}  // namespace

LaunchedRun::LaunchedRun(int n_ranks, const std::string& job, const std::string& folder,
                         const std::string& options, const std::string& log)
    : n_ranks_(n_ranks), folder_(folder), log_(log) {
  const std::string words = "train " + job + " --out " + folder + " " + options;
  const std::string command = "exec " + (n_ranks == 1 ? std::string(LOCKSTEP_PROGRAM) + " " + words
                                                      : lockstep_command(n_ranks, words));
  write_file(log, "");  // before anybody looks for what the run prints
  launcher_ = fork();
  if (launcher_ != 0) return;
  setsid();
  const int nothing = open("/dev/null", O_RDONLY), out = open(log.c_str(), O_WRONLY | O_APPEND);
  dup2(nothing, 0);
  dup2(out, 1);
  dup2(out, 2);
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(127);
}

LaunchedRun::~LaunchedRun() {
  if (is_running()) wait(0);
}

std::vector<pid_t> LaunchedRun::processes() const {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = read_file("/proc/" + name + "/cmdline");  // of a zombie: empty
    if (words.find('\0' + folder_ + '\0') != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

pid_t LaunchedRun::process_of_rank(int rank) const {
  if (n_ranks_ == 1) return launcher_;
  const std::string variable = '\0' + ("OMPI_COMM_WORLD_RANK=" + std::to_string(rank)) + '\0';
  for (const pid_t pid : processes()) {
    if (('\0' + read_file("/proc/" + std::to_string(pid) + "/environ")).find(variable) != std::string::npos)
      return pid;
  }
  return 0;
}

void LaunchedRun::kill_all() const {
  for (const pid_t pid : processes()) kill(pid, SIGKILL);
}

bool LaunchedRun::is_running() {
  int status = 0;
  if (status_ < 0 && waitpid(launcher_, &status, WNOHANG) == launcher_)
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_ < 0;
}

int64_t LaunchedRun::step() const { return last_step(read_file(folder_ + "/metrics.jsonl")); }

bool LaunchedRun::wait_for_step(int64_t wanted, double limit_s) {
  for (const auto start = Clock::now(); seconds_since(start) < limit_s; std::this_thread::sleep_for(kPoll)) {
    if (!is_running()) return false;
    // A run that resumes first takes away the lines behind its step: not before it has started to work.
    if (output().find("training samples, global batch") != std::string::npos && step() >= wanted) return true;
  }
  return false;
}

double LaunchedRun::wait_for_text(const std::vector<std::string>& texts, Clock::time_point start,
                                  double limit_s) {
  for (bool running = true; running && seconds_since(start) < limit_s; std::this_thread::sleep_for(kPoll)) {
    running = is_running();
    const std::string printed = output();
    for (const std::string& text : texts) {
      if (printed.find(text) != std::string::npos) return seconds_since(start);
    }
  }
  return -1;
}

int LaunchedRun::wait(double limit_s) {
  const auto start = Clock::now();
  while (is_running() && seconds_since(start) < limit_s) std::this_thread::sleep_for(kPoll);
  const bool in_time = !is_running();
  const auto ended = Clock::now();
  while (in_time && !processes().empty() && seconds_since(ended) < 10) std::this_thread::sleep_for(kPoll);
  if (in_time && processes().empty()) return status_;
  kill(launcher_, SIGKILL);
  kill_all();
  while (is_running()) std::this_thread::sleep_for(kPoll);
  return status_ = kTimeLimit;
}

std::string LaunchedRun::output() const { return read_file(log_); }

}  // namespace lockstep
