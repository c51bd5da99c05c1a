// The rate shrinks by one factor an epoch, a little with every step.
#include <fmt/format.h>

#include <cmath>

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
      return [=](const Position& at) {
        const double epochs =
            (static_cast<double>(at.step) - at.warmup_steps) / static_cast<double>(at.steps_per_epoch);
        return std::pow(gamma, epochs);
      };
    },
    6);

}  // namespace

}  // namespace lockstep
