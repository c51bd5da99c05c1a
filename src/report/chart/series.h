// A measured quantity over steps, and how it is made small enough to draw.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

namespace lockstep {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();  // a gap, an absent number

struct Series {
  std::vector<double> x;  // ascending
  std::vector<double> y;  // as long as x; NaN marks a gap

  bool empty() const;  // no finite y
};

/// At most about `max_points` points: the index range is cut into max_points / 2 bins, each
/// keeping its minimum and maximum in their order; a bin without a finite value stays a gap.
/// The first and the last point are kept. Shorter series are returned unchanged.
Series thin_series(const Series& series, size_t max_points);

/// Means of consecutive bins of equal size, at most `max_points` of them, at the bins' mean x;
/// a bin without a finite value is a gap.
Series bin_means(const Series& series, size_t max_points);

/// Centred moving mean over `window` (odd) points; gaps stay gaps and do not enter the mean.
/// At the start the window shrinks on both sides, since curves are steep there; at the end on
/// the far side only, since the last values are noise more than trend.
/// Costs window x points.
Series moving_mean(const Series& series, size_t window);

/// The value below which `fraction` of the finite values lie; NaN without any.
double quantile_of(std::vector<double> values, double fraction);

/// Smallest and largest finite y; {NaN, NaN} when there is none.
struct Extent {
  double low, high;
};
Extent extent_of(const std::vector<double>& values);

}  // namespace lockstep
