// Drops of the rate: every so many epochs, or at given ones.
#include <cmath>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool step_schedule_registered = schedules().add(
    "step",
    [](Config& options) -> ScheduleRule {
      const double every_epochs = options.get_double("every_epochs", 0);
      const std::vector<int64_t> epochs = options.get_ints("epochs", {});
      const double gamma = options.get_double("gamma", 0.1);
      if ((every_epochs > 0) == !epochs.empty()) {
        throw options.error("a step schedule needs either every_epochs or epochs",
                            "for instance step: {every_epochs: 30, gamma: 0.1}");
      }
      return [=](const Position& at) {
        int64_t drops = 0;
        for (const int64_t epoch : epochs) drops += at.step / at.steps_per_epoch >= epoch;
        if (every_epochs > 0)
          drops = static_cast<int64_t>(static_cast<double>(at.step) /
                                       (every_epochs * static_cast<double>(at.steps_per_epoch)));
        return std::pow(gamma, static_cast<double>(drops));
      };
    },
    2);

}  // namespace

}  // namespace lockstep
