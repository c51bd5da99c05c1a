#include "src/update/schedule.h"

#include <fmt/format.h>

#include <cmath>

#include "src/config/numbers.h"

namespace lockstep {

Family<ScheduleMaker>& schedules() {
  static Family<ScheduleMaker> family("schedule", "schedules");
  return family;
}

double Schedule::factor(int64_t step, int64_t total_steps, int64_t steps_per_epoch) const {
  const double s = static_cast<double>(step), until = warmup(steps_per_epoch);
  if (s < until) return (s + 1) / until;
  return rule ? rule({step, total_steps, steps_per_epoch, until}) : 1;
}

void Schedule::check(int64_t total_steps, int64_t steps_per_epoch) const {
  if (warmup_steps > total_steps)
    throw Error("schedule.warmup_steps",
                fmt::format("{} steps are more than the run's {}", warmup_steps, total_steps),
                "give fewer, or train longer");
  if (rule) rule({0, total_steps, steps_per_epoch, warmup(steps_per_epoch)});
}

ScheduleLength read_length(const Config& options, const std::string& name) {
  const std::string epochs = name + "_epochs", steps = name + "_steps";
  if (options.has(epochs) == options.has(steps))
    throw options.error(fmt::format("needs either {} or {}", epochs, steps),
                        fmt::format("for instance {}: 4", epochs));
  ScheduleLength length;
  if (options.has(steps)) {
    length.steps = static_cast<double>(read_steps(options, steps, 1, 1));
  } else {
    length.epochs = options.get_double(epochs);
    if (!(length.epochs > 0 && std::isfinite(length.epochs)))
      throw options.error_at(epochs, fmt::format("must be above 0, found {}", length.epochs),
                             fmt::format("for instance {}: 4", epochs));
  }
  return length;
}

Error too_long(const Config& options, const std::string& name) {
  const std::string key = name + (options.has(name + "_steps") ? "_steps" : "_epochs");
  return options.error_at(key, "is longer than the run", "shorten it, or train longer");
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
  if (options.has("warmup_steps")) {
    if (options.has("warmup_epochs"))
      throw options.error("warmup_epochs and warmup_steps are both given", "keep one of them");
    schedule.warmup_steps = read_steps(options, "warmup_steps", 0, 0);
  }
  options.finish();
  return schedule;
}

}  // namespace lockstep
