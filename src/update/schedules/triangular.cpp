// Up and down in lines between a part of the rate and the rate, again and again (Smith 2017, "triangular";
// with halving "triangular2", whose ranges halve from cycle to cycle).
#include <fmt/format.h>

#include <cmath>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool triangular_schedule_registered = schedules().add(
    "triangular",
    [](Config& options) -> ScheduleRule {
      const ScheduleLength half = read_length(options, "half_cycle");
      const double base = options.get_double("base", 0.1);
      const bool halves = options.get_bool("halving", false);
      if (!(base >= 0 && base <= 1))
        throw options.error_at("base", fmt::format("must lie in [0, 1], found {}", base),
                               "for instance base: 0.1, a tenth of the rate");
      return [=, error = too_long(options, "half_cycle")](const Position& at) {
        half.check(at, error);
        const double halves_done = at.done() / half.in_steps(at);
        const double cycle = std::floor(halves_done / 2);  // from 0
        const double height = 1 - std::abs(halves_done - 2 * cycle - 1);
        return base + (1 - base) * height * (halves ? std::pow(0.5, cycle) : 1.0);
      };
    },
    9);

}  // namespace

}  // namespace lockstep
