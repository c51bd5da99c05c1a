// A line chart over steps, or over another quantity: an SVG that stretches to its place, with axis labels as
// page text so that they keep their size on narrow screens and on paper.
#pragma once

#include <string>
#include <vector>

#include "src/report/chart/series.h"

namespace lockstep {

struct ChartLine {
  std::string name;
  int color = 1;             // 1 … 8: the page's series colours
  bool dashed = false;       // beside another of its colour
  bool dots = false;         // mark each point (drawn while there are at most 80)
  size_t smooth_from = 0;    // > 0: with more points, all of them faint behind their moving mean
  bool only_smooth = false;  // the moving mean alone
  Series series;
};

struct ChartMark {
  double x = 0;
  std::string label;  // shown above a vertical line
};

struct Chart {
  std::string title;
  std::string unit;              // may be empty
  bool percent = false;          // values are fractions, shown as 100 x
  bool from_zero = false;        // the y axis includes zero
  bool allow_log = false;        // logarithmic when the values span more than 100x
  double steps_per_epoch = 0;    // > 0: hovering also names the epoch
  double last_x = 0;             // the x axis reaches at least this step
  std::string x_name = "step";   // what x is
  bool log_x = false;            // x is positive, and its axis logarithmic
  std::vector<ChartLine> lines;  // those without a finite value are left out
  std::vector<ChartMark> marks;
};

/// Points drawn per line at most; longer series are thinned by thin_series.
inline constexpr size_t kChartPoints = 2000;

/// A <figure>; empty text when no line has a finite value.
std::string chart_html(const Chart& chart);

}  // namespace lockstep
