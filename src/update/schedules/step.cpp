// Drops of the rate: every so many epochs or steps, or at given ones.
#include <algorithm>
#include <cmath>
#include <vector>

#include "src/config/numbers.h"
#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool step_schedule_registered = schedules().add(
    "step",
    [](Config& options) -> ScheduleRule {
      const double every_epochs = options.get_double("every_epochs", 0);
      const auto every_steps = static_cast<double>(read_steps(options, "every_steps", 0, 0));
      const std::vector<int64_t> epochs = options.get_ints("epochs", {}),
                                 steps = options.get_ints("steps", {});
      const double gamma = options.get_double("gamma", 0.1);
      if ((every_epochs > 0) + (every_steps > 0) + !epochs.empty() + !steps.empty() != 1)
        throw options.error("a step schedule needs either every_epochs or epochs, or the same in steps",
                            "for instance step: {every_epochs: 30, gamma: 0.1}");
      const Error late =
          options.error("a drop of the rate lies behind the run", "leave it out, or train longer");
      return [=](const Position& at) {
        for (const int64_t step : steps)
          if (step >= at.total_steps) throw late;
        int64_t drops = 0;
        for (const int64_t epoch : epochs) drops += at.step / at.steps_per_epoch >= epoch;
        for (const int64_t step : steps) drops += at.step >= step;
        const double every =
            every_steps > 0 ? every_steps : every_epochs * static_cast<double>(at.steps_per_epoch);
        if (every > 0) drops = static_cast<int64_t>(static_cast<double>(at.step) / every);
        return std::pow(gamma, static_cast<double>(drops));
      };
    },
    2);

}  // namespace

}  // namespace lockstep
