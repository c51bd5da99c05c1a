// Learning-rate schedules: a factor on the optimizer's rate for every step, a pure function
// of the step so that a resumed run continues exactly.
#pragma once

#include <cstdint>
#include <vector>

#include "src/config/config.h"

namespace lockstep {

struct Schedule {
  enum class Kind { kConstant, kStep, kCosine };
  Kind kind = Kind::kConstant;
  double warmup_epochs = 0;         // linear from 0, over the first steps
  double step_epochs = 0;           // step: every so many epochs …
  std::vector<int64_t> milestones;  // … or at these epochs
  double gamma = 0.1;               // step: factor at each drop
  double final_factor = 0;          // cosine: factor at the end

  /// Factor for update number `step` (from 0) of `total_steps`.
  double factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const;
};

/// From `schedule: constant`, `{step: {every_epochs: 30, gamma: 0.1}}`,
/// `{step: {epochs: [30, 60]}}` or `{cosine: {warmup_epochs: 1, final: 0.01}}`.
Schedule read_schedule(const Config& description);

}  // namespace lockstep
