// A power of the part of the run that is left, between the rate and a part of it.
#include <fmt/format.h>

#include <cmath>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool polynomial_schedule_registered = schedules().add(
    "polynomial",
    [](Config& options) -> ScheduleRule {
      const double power = options.get_double("power", 2), last = options.get_double("final", 0);
      if (!(power > 0))
        throw options.error_at("power", fmt::format("must be above 0, found {}", power),
                               "for instance power: 2; 1 is a line");
      return [=](const Position& at) { return last + (1 - last) * std::pow(1 - at.progress(), power); };
    },
    5);

}  // namespace

}  // namespace lockstep
