// When a run must leave by itself, because the batch system ends its job at a known time: early enough for
// the step under way and a checkpoint, late enough to use the time. A judgement without a clock; the run asks
// for a stop as a signal would, so that all ranks leave at one step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace lockstep {

struct TimeLimit {
  static constexpr double kMargin_s = 5;  // for clocks of hosts that differ, and the end of the program
  double end_s = 0;                       // since 1970; 0: the run may take as long as it likes
  double checkpoint_s = 0;                // the longest that one has taken, or a guess before the first
  double longest_step_s = 0;              // with its validation
  double step_began_s = -1;

  /// To be told at the beginning of each step.
  void step_begins(double now_s) {
    if (step_began_s >= 0) longest_step_s = std::max(longest_step_s, now_s - step_began_s);
    step_began_s = now_s;
  }
  /// A checkpoint of twice the usual time still fits.
  double lead_s() const { return longest_step_s + 2 * checkpoint_s + kMargin_s; }
  /// Whether the step that begins now is the last one.
  bool is_near(double now_s) const { return end_s > 0 && now_s + lead_s() >= end_s; }
};

/// LOCKSTEP_END_TIME, else Slurm's SLURM_JOB_END_TIME, as their texts (null: not set): seconds since 1970; 0
/// where neither is set. Throws Error for other text in the first; of Slurm's, what is no number means
/// nothing.
int64_t end_time_of(const char* lockstep, const char* slurm);

/// Seconds that a checkpoint of so many bytes may take where none was measured.
double guessed_checkpoint_s(int64_t n_bytes);

/// "stopping 40 s before the time limit: …"
std::string time_is_up_text(const TimeLimit& limit, double now_s);

}  // namespace lockstep
