// One axis of a chart: its range, its scale and its ticks at round numbers.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct AxisTick {
  double value = 0;
  std::string label;
};

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  std::vector<AxisTick> ticks;  // ascending, within [low, high]

  /// 0 at low, 1 at high.
  double position(double value) const;
};

struct AxisOptions {
  int target_ticks = 5;
  bool round_ends = true;     // widen the range to round numbers (off: keep the data's ends)
  bool include_zero = false;  // always
  bool near_zero = true;      // include zero when it is near: low below 0.4 of high
  bool allow_log = false;     // logarithmic when all values are positive and span over 100x
  bool integers = false;      // no tick between whole numbers
  bool percent = false;       // labels are 100 x value; the range stays within [0, 1]
};

/// The axis for data in [low, high], both finite, low <= high.
Axis make_axis(double low, double high, const AxisOptions& options);

/// The largest of 1, 2, 5 times a power of ten that is <= value (value > 0).
double round_down_125(double value);
/// The smallest of 1, 2, 5 times a power of ten that is >= value (value > 0).
double round_up_125(double value);

}  // namespace lockstep
