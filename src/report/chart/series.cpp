// Min/max thinning and moving means over series with gaps.
#include "src/report/chart/series.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lockstep {

bool Series::empty() const {
  return std::none_of(y.begin(), y.end(), [](double v) { return std::isfinite(v); });
}

Series thin_series(const Series& series, size_t max_points) {
  const size_t n = series.x.size();
  if (n <= max_points || max_points < 4) return series;
  Series out;
  const auto keep = [&](size_t i) {
    out.x.push_back(series.x[i]);
    out.y.push_back(series.y[i]);
  };
  const size_t bins = max_points / 2;
  keep(0);
  for (size_t b = 0; b < bins; ++b) {
    const size_t begin = std::max<size_t>(1, b * n / bins), end = std::min(n - 1, (b + 1) * n / bins);
    if (begin >= end) continue;
    size_t low = n, high = n;
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(series.y[i])) continue;
      if (low == n || series.y[i] < series.y[low]) low = i;
      if (high == n || series.y[i] > series.y[high]) high = i;
    }
    if (low == n) {
      keep(begin);
    } else {
      keep(std::min(low, high));
      if (low != high) keep(std::max(low, high));
    }
  }
  keep(n - 1);
  return out;
}

Series bin_means(const Series& series, size_t max_points) {
  const size_t n = series.x.size();
  if (n <= max_points || max_points == 0) return series;
  const size_t size = (n + max_points - 1) / max_points;
  Series out;
  for (size_t begin = 0; begin < n; begin += size) {
    const size_t end = std::min(n, begin + size);
    double x = 0, y = 0;
    size_t finite = 0;
    for (size_t i = begin; i < end; ++i) {
      x += series.x[i];
      if (!std::isfinite(series.y[i])) continue;
      y += series.y[i];
      ++finite;
    }
    out.x.push_back(x / static_cast<double>(end - begin));
    out.y.push_back(finite > 0 ? y / static_cast<double>(finite) : std::numeric_limits<double>::quiet_NaN());
  }
  return out;
}

Series moving_mean(const Series& series, size_t window) {
  const size_t n = series.y.size(), half = window / 2;
  Series out = series;
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(series.y[i])) continue;
    const size_t before = std::min(half, i), after = std::min(before, n - 1 - i);
    double sum = 0;
    size_t finite = 0;
    for (size_t j = i - before; j <= i + after; ++j) {
      if (!std::isfinite(series.y[j])) continue;
      sum += series.y[j];
      ++finite;
    }
    out.y[i] = sum / static_cast<double>(finite);
  }
  return out;
}

double quantile_of(std::vector<double> values, double fraction) {
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = static_cast<size_t>(fraction * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return values[rank];
}

Extent extent_of(const std::vector<double>& values) {
  Extent extent{kNaN, kNaN};
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    if (!(v >= extent.low)) extent.low = v;
    if (!(v <= extent.high)) extent.high = v;
  }
  return extent;
}

}  // namespace lockstep
