// Half a cosine from the rate down to a part of it, again and again, each longer than the one before by a
// factor (Loshchilov and Hutter 2017, SGDR).
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "src/update/schedule.h"

namespace lockstep {

namespace {

/// The part of its period that position `done` has behind it; the first one has `length` steps.
double part_of_period(double done, double length, double growth) {
  if (growth == 1) return std::fmod(done, length) / length;
  // Where the periods begin: length (growth^n - 1) / (growth - 1). The logarithm may miss n by one at its
  // edge.
  const auto begin = [&](double n) { return length * (std::pow(growth, n) - 1) / (growth - 1); };
  double n = std::floor(std::log1p(done / length * (growth - 1)) / std::log(growth));
  while (begin(n + 1) <= done) ++n;
  while (n > 0 && begin(n) > done) --n;
  return (done - begin(n)) / (length * std::pow(growth, n));
}

const bool cosine_restarts_schedule_registered = schedules().add(
    "cosine_restarts",
    [](Config& options) -> ScheduleRule {
      const ScheduleLength first = read_length(options, "first");
      const double growth = options.get_double("growth", 1), last = options.get_double("final", 0);
      if (!(growth >= 1 && std::isfinite(growth)))
        throw options.error_at("growth", fmt::format("must be at least 1, found {}", growth),
                               "for instance growth: 2, each period twice as long as the one before");
      return [=, error = too_long(options, "first")](const Position& at) {
        first.check(at, error);
        const double part = part_of_period(at.done(), first.in_steps(at), growth);
        return last + (1 - last) * 0.5 * (1 + std::cos(std::numbers::pi * part));
      };
    },
    10);

}  // namespace

}  // namespace lockstep
