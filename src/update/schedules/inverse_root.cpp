// With the inverse root of the step (Vaswani et al. 2017, equation 3, whose peak is the rate at the end of
// warm-up).
#include <algorithm>
#include <cmath>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool inverse_root_schedule_registered = schedules().add(
    "inverse_root",
    [](Config&) -> ScheduleRule {
      return [](const Position& at) {
        const double peak = std::max(1.0, at.warmup_steps);
        return std::min(1.0, std::sqrt(peak / static_cast<double>(at.step + 1)));
      };
    },
    7);

}  // namespace

}  // namespace lockstep
