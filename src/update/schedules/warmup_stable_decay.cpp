// The full rate until a last part of the run, in which it falls to a part of it (Hu et al. 2024, "MiniCPM";
// Hägele et al. 2024, whose shape is 1 - sqrt): a run can be made longer without having known its length.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool warmup_stable_decay_schedule_registered = schedules().add(
    "warmup_stable_decay",
    [](Config& options) -> ScheduleRule {
      const double decay = options.get_double("decay", 0.2), last = options.get_double("final", 0);
      const std::string shape = options.get_choice("shape", "linear", {"linear", "cosine", "root"});
      if (!(decay > 0 && decay <= 1))
        throw options.error_at("decay", fmt::format("must be above 0 and at most 1, found {}", decay),
                               "for instance decay: 0.2, the last fifth of the run");
      return [=](const Position& at) {
        const double total = static_cast<double>(at.total_steps);
        const double begin = std::max(at.warmup_steps, (1 - decay) * total),
                     span = std::max(1.0, total - begin);
        const double progress = std::clamp((static_cast<double>(at.step) - begin) / span, 0.0, 1.0);
        const double left = shape == "linear"   ? 1 - progress
                            : shape == "cosine" ? 0.5 * (1 + std::cos(std::numbers::pi * progress))
                                                : 1 - std::sqrt(progress);
        return last + (1 - last) * left;
      };
    },
    8);

}  // namespace

}  // namespace lockstep
