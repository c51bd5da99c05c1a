#include "src/update/schedule.h"

#include <fmt/format.h>

namespace lockstep {

Family<ScheduleMaker>& schedules() {
  static Family<ScheduleMaker> family("schedule", "schedules");
  return family;
}

double Schedule::factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const {
  const double warmup_steps = warmup_epochs * static_cast<double>(steps_per_epoch);
  const double s = static_cast<double>(step);
  if (s < warmup_steps) return (s + 1) / warmup_steps;
  return rule ? rule({step, total_steps, steps_per_epoch, warmup_steps}) : 1;
}

Schedule read_schedule(const Config& description) {
  const Config::Named named = description.named();
  Config& options = *named.options;
  Schedule schedule;
  schedule.name = named.name;
  schedule.rule = schedules().at(named.name, description)(options);
  schedule.warmup_epochs = options.get_double("warmup_epochs", 0);
  if (schedule.warmup_epochs < 0)
    throw options.error_at("warmup_epochs",
                           fmt::format("must not be negative, found {}", schedule.warmup_epochs),
                           "for instance warmup_epochs: 5");
  options.finish();
  return schedule;
}

}  // namespace lockstep
