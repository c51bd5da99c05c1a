// In a line from the rate down to a part of it, over what warm-up leaves.
#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool linear_schedule_registered = schedules().add(
    "linear",
    [](Config& options) -> ScheduleRule {
      const double last = options.get_double("final", 0);
      return [=](const Position& at) { return 1 + (last - 1) * at.progress(); };
    },
    4);

}  // namespace

}  // namespace lockstep
