// Up from a small part of the rate, and down to a much smaller one, once over the run (Smith and Topin 2018),
// with PyTorch's numbers: the peak is at step peak * n - 1, the end at step n - 1.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

const bool one_cycle_schedule_registered = schedules().add(
    "one_cycle",
    [](Config& options) -> ScheduleRule {
      const double peak = options.get_double("peak", 0.3);
      const double start_divisor = options.get_double("start_divisor", 25);
      const double final_divisor = options.get_double("final_divisor", 1e4);
      const bool is_line = options.get_choice("shape", "cosine", {"cosine", "linear"}) == "linear";
      if (!(peak > 0 && peak < 1))
        throw options.error_at("peak", fmt::format("must lie between 0 and 1, found {}", peak),
                               "for instance peak: 0.3, after three tenths of the run");
      for (const auto& [key, divisor] :
           {std::pair{"start_divisor", start_divisor}, std::pair{"final_divisor", final_divisor}})
        if (!(divisor >= 1 && std::isfinite(divisor)))
          throw options.error_at(key, fmt::format("must be at least 1, found {}", divisor),
                                 "the usual ones are start_divisor: 25 and final_divisor: 1.0e4");
      const auto between = [=](double from, double to, double part) {
        if (is_line) return from + (to - from) * part;
        return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * part));
      };
      return [=](const Position& at) {
        const double n = std::max(1.0, static_cast<double>(at.total_steps) - at.warmup_steps);
        const double first = 1 / start_divisor, last = first / final_divisor;
        const double top = peak * n - 1, end = n - 1, now = std::min(at.done(), end);
        if (now <= top) return between(first, 1, top > 0 ? now / top : 1);
        return between(1, last, end > top ? (now - top) / (end - top) : 1);
      };
    },
    11);

}  // namespace

}  // namespace lockstep
