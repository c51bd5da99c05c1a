// A training run in the background, as a user starts it: the launcher, its ranks, what they print and when,
// how they end, and what of them is left. Ranks are found in /proc by the run's folder in their command line.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

class LaunchedRun {
 public:
  static constexpr int kTimeLimit = 124;  // the status of a run that had to be ended

  /// Starts `lockstep train JOB --out FOLDER OPTIONS`: one rank without a launcher, more through mpirun. What
  /// they print goes to the file `log`.
  LaunchedRun(int n_ranks, const std::string& job, const std::string& folder, const std::string& options,
              const std::string& log);
  /// Ends what is left.
  ~LaunchedRun();
  LaunchedRun(const LaunchedRun&) = delete;
  LaunchedRun& operator=(const LaunchedRun&) = delete;

  int n_ranks() const { return n_ranks_; }
  pid_t launcher() const { return launcher_; }  // the rank itself, where there is one
  /// 0 while there is none.
  pid_t process_of_rank(int rank) const;
  bool is_running();
  /// The last step in the run's metrics; 0 before the first.
  int64_t step() const;
  /// Waits for that step; false where the run ends before, or after limit_s.
  bool wait_for_step(int64_t step, double limit_s);
  /// Waits until it has printed one of `texts`; seconds since `start`; -1 where it ended without or after
  /// limit_s.
  double wait_for_text(const std::vector<std::string>& texts, std::chrono::steady_clock::time_point start,
                       double limit_s);
  /// The exit status, 128 + signal, or kTimeLimit where it did not end within limit_s, nor its processes 10 s
  /// after the launcher; they are killed then.
  int wait(double limit_s);
  std::string output() const;

 private:
  /// Of the run's ranks and launcher.
  std::vector<pid_t> processes() const;
  void kill_all() const;

  int n_ranks_;
  std::string folder_, log_;
  pid_t launcher_ = 0;
  int status_ = -1;  // -1: running
};

}  // namespace lockstep
