// The rate shrinks by one factor an epoch, or so many steps: a little with every step, or in a staircase.
#include <fmt/format.h>

#include <cmath>

#include "src/config/numbers.h"
#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool exponential_schedule_registered = schedules().add(
    "exponential",
    [](Config& options) -> ScheduleRule {
      const double gamma = options.get_double("gamma");
      if (!(gamma > 0 && gamma <= 1))
        throw options.error_at("gamma", fmt::format("must be above 0 and at most 1, found {}", gamma),
                               "for instance gamma: 0.95, the factor of an epoch");
      const auto every_steps = static_cast<double>(read_steps(options, "every_steps", 0, 0));
      const bool in_stairs = options.get_bool("staircase", false);
      return [=](const Position& at) {
        const double stairs =
            at.done() / (every_steps > 0 ? every_steps : static_cast<double>(at.steps_per_epoch));
        return std::pow(gamma, in_stairs ? std::floor(stairs) : stairs);
      };
    },
    6);

}  // namespace

}  // namespace lockstep
