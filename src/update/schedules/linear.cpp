// In a line from the rate down to a part of it: over what warm-up leaves, or over so long, and then constant.
#include <algorithm>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool linear_schedule_registered = schedules().add(
    "linear",
    [](Config& options) -> ScheduleRule {
      const double last = options.get_double("final", 0);
      if (!options.has("over_epochs") && !options.has("over_steps"))
        return [=](const Position& at) { return 1 + (last - 1) * at.progress(); };
      const ScheduleLength over = read_length(options, "over");
      return [=, error = too_long(options, "over")](const Position& at) {
        over.check(at, error);
        return 1 + (last - 1) * std::clamp(at.done() / over.in_steps(at), 0.0, 1.0);
      };
    },
    4);

}  // namespace

}  // namespace lockstep
