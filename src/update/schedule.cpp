#include "src/update/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lockstep {

double Schedule::factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const {
  const double per_epoch = static_cast<double>(steps_per_epoch);
  const double warmup_steps = warmup_epochs * per_epoch;
  const double s = static_cast<double>(step);
  if (s < warmup_steps) return (s + 1) / warmup_steps;
  switch (kind) {
    case Kind::kConstant: return 1;
    case Kind::kStep: {
      const int64_t epoch = step / steps_per_epoch;
      int64_t drops = 0;
      for (int64_t milestone : milestones) drops += epoch >= milestone;
      if (step_epochs > 0) drops = static_cast<int64_t>(s / (step_epochs * per_epoch));
      return std::pow(gamma, static_cast<double>(drops));
    }
    case Kind::kCosine: {
      // Loshchilov and Hutter 2017, one period over what warm-up leaves.
      const double span = std::max(1.0, static_cast<double>(total_steps) - warmup_steps);
      const double progress = std::min(1.0, (s - warmup_steps) / span);
      return final_factor + (1 - final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  return 1;
}

Schedule read_schedule(const Config& description) {
  const Config::Named named = description.named();
  Config& options = *named.options;
  Schedule schedule;
  if (named.name == "constant") {
    schedule.kind = Schedule::Kind::kConstant;
  } else if (named.name == "step") {
    schedule.kind = Schedule::Kind::kStep;
    schedule.step_epochs = options.get_double("every_epochs", 0);
    schedule.milestones = options.get_ints("epochs", {});
    schedule.gamma = options.get_double("gamma", 0.1);
    if ((schedule.step_epochs > 0) == !schedule.milestones.empty()) {
      throw options.error("a step schedule needs either every_epochs or epochs",
                          "for instance step: {every_epochs: 30, gamma: 0.1}");
    }
  } else if (named.name == "cosine") {
    schedule.kind = Schedule::Kind::kCosine;
    schedule.final_factor = options.get_double("final", 0);
  } else {
    throw description.unknown_name("schedule", "schedules", named.name, {"constant", "step", "cosine"});
  }
  schedule.warmup_epochs = options.get_double("warmup_epochs", 0);
  if (schedule.warmup_epochs < 0)
    throw options.error_at("warmup_epochs",
                           fmt::format("must not be negative, found {}", schedule.warmup_epochs),
                           "for instance warmup_epochs: 5");
  options.finish();
  return schedule;
}

}  // namespace lockstep
