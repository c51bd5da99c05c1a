// The progress line: one line that renews itself on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lockstep {

class Progress {
 public:
  /// Only rank 0 prints. step/total_steps count updates.
  Progress(bool prints, bool has_launcher, int64_t start_step, int64_t total_steps, int64_t steps_per_epoch);

  /// Of the last interval: the mean loss, and the metrics as text. Shown at most ten times
  /// a second on a terminal and once a second elsewhere; the last step always.
  void show(int64_t step, double loss, const std::string& metrics, double lr, double samples_per_s);
  /// A line that stays.
  void note(const std::string& text);
  double elapsed_s() const;

 private:
  bool prints_, terminal_;
  int64_t start_step_, total_steps_, steps_per_epoch_;
  std::chrono::steady_clock::time_point start_;
  double shown_s_ = -1;
};

/// "12 s", "3 min 20 s", "2 h 05 min"
std::string duration_text(double seconds);
/// 25312.4 -> "25,312"
std::string grouped(double value);
/// "1.4 MiB": bytes in the largest binary unit that leaves at least 1.
std::string human_bytes(int64_t n_bytes);

}  // namespace lockstep
