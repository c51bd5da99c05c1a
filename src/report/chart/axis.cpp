// Tick choice. A linear axis takes the smallest step of 1, 2 or 5 times a power of ten that
// gives at most about the wanted number of ticks; a logarithmic one takes decades, with 2
// and 5 in between while there is room. Ticks are integer multiples of the step, never
// running sums, so that 0.30000000000000004 cannot appear.
#include "src/report/chart/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/report/html.h"

namespace lockstep {
namespace {

constexpr double kSlack = 1e-9;  // of one step: forgives the rounding of low / step

/// `largest` of the axis decides the unit, so that all labels of an axis share it.
std::string tick_label(double value, double step, double largest, bool percent) {
  double unit = percent ? 0.01 : 1;
  const char* suffix = "";
  if (!percent && largest >= 1e6) {
    unit = largest >= 1e9 ? 1e9 : 1e6;
    suffix = largest >= 1e9 ? " G" : " M";
  }
  const double shown = value / unit, shown_step = step / unit;
  if (std::abs(shown) < shown_step * 1e-6) return "0";
  if (std::abs(shown) >= 1e6) return fmt::format("{:.3g}", value);
  if (shown_step >= 1 - kSlack) return format_count(shown) + suffix;
  const int decimals = static_cast<int>(std::ceil(-std::log10(shown_step) - kSlack));
  return decimals <= 4 ? fmt::format("{:.{}f}{}", shown, decimals, suffix) : fmt::format("{:.3g}", shown);
}

std::string decade_label(double value) {
  if (value >= 0.000099 && value < 1e6) return value >= 1 ? format_count(value) : fmt::format("{:g}", value);
  return fmt::format("{:.0e}", value);
}

Axis log_axis(double low, double high, const AxisOptions& options) {
  Axis axis;
  axis.log = true;
  axis.low = options.round_ends ? round_down_125(low) : low;
  axis.high = options.round_ends ? round_up_125(high) : high;
  const int first = static_cast<int>(std::floor(std::log10(axis.low) + kSlack));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high) - kSlack));
  const int decades = last - first;
  const int stride = std::max(1, (decades + options.target_ticks - 1) / options.target_ticks);
  const bool between = std::log10(axis.high / axis.low) < 2.5;
  for (int e = first; e <= last; ++e) {
    for (const double mantissa : {1.0, 2.0, 5.0}) {
      if (mantissa != 1.0 && !between) continue;
      if (mantissa == 1.0 && (e - first) % stride != 0) continue;
      const double value = mantissa * std::pow(10.0, e);
      if (value < axis.low * (1 - kSlack) || value > axis.high * (1 + kSlack)) continue;
      axis.ticks.push_back({value, decade_label(value)});
    }
  }
  return axis;
}

}  // namespace

double round_down_125(double value) {
  const double decade = std::pow(10.0, std::floor(std::log10(value) + kSlack));
  const double mantissa = value / decade * (1 + kSlack);
  return (mantissa >= 5 ? 5 : mantissa >= 2 ? 2 : 1) * decade;
}

double round_up_125(double value) {
  const double decade = std::pow(10.0, std::floor(std::log10(value) + kSlack));
  const double mantissa = value / decade * (1 - kSlack);
  return (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10) * decade;
}

double Axis::position(double value) const {
  if (log) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

Axis make_axis(double low, double high, const AxisOptions& options) {
  if (options.allow_log && low > 0 && high > 100 * low) return log_axis(low, high, options);

  if (options.include_zero || (options.near_zero && options.round_ends && low > 0 && low < 0.4 * high))
    low = std::min(low, 0.0);
  if (options.include_zero) high = std::max(high, 0.0);
  if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high)) || high == low) {
    // A constant has no range of its own: give it one around the value.
    const double half = low == 0 ? 0.5 : std::abs(low) * 0.05;
    low -= half;
    high += half;
  }
  if (options.percent) {
    low = std::max(low, 0.0);
    high = std::min(std::max(high, low + 1e-6), 1.0);
    if (high <= low) low = high - 0.01;
  }

  Axis axis;
  double step = round_up_125((high - low) / options.target_ticks);
  if (options.integers) step = std::max(1.0, step);
  auto first = static_cast<int64_t>(std::ceil(low / step - kSlack));
  auto last = static_cast<int64_t>(std::floor(high / step + kSlack));
  axis.low = low;
  axis.high = high;
  if (options.round_ends) {
    first = static_cast<int64_t>(std::floor(low / step + kSlack));
    last = static_cast<int64_t>(std::ceil(high / step - kSlack));
    axis.low = static_cast<double>(first) * step;
    axis.high = static_cast<double>(last) * step;
  }
  for (int64_t i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    if (options.percent && value > 1 + kSlack) {  // 5 x 0.2 is 1, 6 x 0.18 would not be
      axis.high = 1;
      break;
    }
    axis.ticks.push_back(
        {value, tick_label(value, step, std::max(std::abs(axis.low), std::abs(axis.high)), options.percent)});
  }
  return axis;
}

}  // namespace lockstep
