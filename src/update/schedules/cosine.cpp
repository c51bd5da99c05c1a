// Half a cosine from the rate down to a part of it (Loshchilov and Hutter 2017), one period over what warm-up
// leaves.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool cosine_schedule_registered = schedules().add(
    "cosine",
    [](Config& options) -> ScheduleRule {
      const double final_factor = options.get_double("final", 0);
      return [=](const Position& at) {
        const double span = std::max(1.0, static_cast<double>(at.total_steps) - at.warmup_steps);
        const double progress = std::min(1.0, (static_cast<double>(at.step) - at.warmup_steps) / span);
        return final_factor + (1 - final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
      };
    },
    3);

}  // namespace

}  // namespace lockstep
