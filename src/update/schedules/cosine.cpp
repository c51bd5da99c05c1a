// Half a cosine from the rate down to a part of it (Loshchilov and Hutter 2017), one period over what warm-up
// leaves.
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
        return final_factor + (1 - final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * at.progress()));
      };
    },
    3);

}  // namespace

}  // namespace lockstep
