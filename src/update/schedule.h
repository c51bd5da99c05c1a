// Learning-rate schedules: a factor on the optimizer's rate for every step, a pure function
// of the step so that a resumed run continues exactly. One file per schedule in schedules/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>

#include "src/config/family.h"

namespace lockstep {

/// Where an update stands in its run.
struct Position {
  int64_t step, total_steps, steps_per_epoch;  // step: from 0
  double warmup_steps;                         // which the schedule does not see

  /// Of what warm-up leaves: from 0 to 1, where it stays.
  double progress() const {
    const double span = std::max(1.0, static_cast<double>(total_steps) - warmup_steps);
    return std::min(1.0, (static_cast<double>(step) - warmup_steps) / span);
  }
};

/// What follows the warm-up: the factor at a position.
using ScheduleRule = std::function<double(const Position&)>;
using ScheduleMaker = std::function<ScheduleRule(Config& options)>;

/// The schedules by name. A new one is a file schedules/NAME.cpp with
///   const bool NAME_schedule_registered = schedules().add("NAME", [](Config& options) { … });
Family<ScheduleMaker>& schedules();

struct Schedule {
  std::string name = "constant";
  double warmup_epochs = 0;  // linear from 0, over the first steps
  ScheduleRule rule;         // empty: 1

  /// Factor for update number `step` (from 0) of `total_steps`.
  double factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const;
};

/// From `schedule: constant`, `{step: {every_epochs: 30, gamma: 0.1}}`,
/// `{step: {epochs: [30, 60]}}` or `{cosine: {warmup_epochs: 1, final: 0.01}}`.
Schedule read_schedule(const Config& description);

}  // namespace lockstep
