// Learning-rate schedules: a factor on the optimizer's rate for every step, a pure function
// of the step so that a resumed run continues exactly. One file per schedule in schedules/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>

#include "kernels/error.h"
#include "src/config/family.h"

namespace lockstep {

/// Where an update stands in its run.
struct Position {
  int64_t step, total_steps, steps_per_epoch;  // step: from 0
  double warmup_steps;                         // which the schedule does not see

  /// Steps since the warm-up.
  double done() const { return static_cast<double>(step) - warmup_steps; }

  /// Of what warm-up leaves: from 0 to 1, where it stays.
  double progress() const {
    const double span = std::max(1.0, static_cast<double>(total_steps) - warmup_steps);
    return std::min(1.0, (static_cast<double>(step) - warmup_steps) / span);
  }
};

/// A length in epochs, which may be parts of one, or in steps.
struct ScheduleLength {
  double epochs = 0, steps = 0;  // one of them is not 0

  double in_steps(const Position& at) const {
    return steps > 0 ? steps : epochs * static_cast<double>(at.steps_per_epoch);
  }
  /// Throws `too_long` where the run is shorter.
  void check(const Position& at, const Error& too_long) const {
    if (in_steps(at) > static_cast<double>(at.total_steps)) throw too_long;
  }
};

/// The keys NAME_epochs and NAME_steps, of which one has to be there.
ScheduleLength read_length(const Config& options, const std::string& name);
/// What is wrong with a length that the run does not have.
Error too_long(const Config& options, const std::string& name);

/// What follows the warm-up: the factor at a position. Throws Error where the run is too short for it.
using ScheduleRule = std::function<double(const Position&)>;
using ScheduleMaker = std::function<ScheduleRule(Config& options)>;

/// The schedules by name. A new one is a file schedules/NAME.cpp with
///   const bool NAME_schedule_registered = schedules().add("NAME", [](Config& options) { … });
Family<ScheduleMaker>& schedules();

struct Schedule {
  std::string name = "constant";
  double warmup_epochs = 0;  // linear from 0, over the first steps …
  int64_t warmup_steps = 0;  // … or so many; one of the two is 0
  ScheduleRule rule;         // empty: 1

  /// Factor for update number `step` (from 0) of `total_steps`.
  double factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const;
  /// Throws Error where the run is too short for what was asked.
  void check(int64_t total_steps, int64_t steps_per_epoch) const;

 private:
  double warmup(int64_t steps_per_epoch) const {
    return warmup_steps > 0 ? static_cast<double>(warmup_steps)
                            : warmup_epochs * static_cast<double>(steps_per_epoch);
  }
};

/// From `schedule: constant`, `{step: {every_epochs: 30, gamma: 0.1}}`,
/// `{step: {epochs: [30, 60]}}` or `{cosine: {warmup_epochs: 1, final: 0.01}}`.
Schedule read_schedule(const Config& description);

}  // namespace lockstep
