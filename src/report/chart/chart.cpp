// Draws one chart. The plot is an SVG of 1000 x 1000 units without a fixed aspect ratio;
// strokes keep their width (vector-effect), points are strokes of zero length with round
// caps. The values behind the drawing travel in an attribute for the hover text.
#include "src/report/chart/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "src/report/chart/axis.h"
#include "src/report/html.h"

namespace lockstep {
namespace {

constexpr size_t kSmoothBins = 400;
constexpr size_t kMostDots = 80;
constexpr double kCutBelow = 0.35;  // of the whole range

struct Frame {
  Axis x, y;
};

std::string point(const Frame& frame, double x, double y) {
  return fmt::format("{:.1f} {:.1f}", frame.x.position(x) * 1000, 1000 - frame.y.position(y) * 1000);
}

/// The series as a path; a gap starts a new piece. A point between two gaps becomes a dot.
std::string path_of(const Series& series, const Frame& frame) {
  std::string d;
  const size_t n = series.x.size();
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(series.y[i])) continue;
    const bool starts = i == 0 || !std::isfinite(series.y[i - 1]);
    const bool ends = i + 1 == n || !std::isfinite(series.y[i + 1]);
    d += starts ? 'M' : 'L';
    d += point(frame, series.x[i], series.y[i]);
    if (starts && ends) d += "h0";
  }
  return d;
}

std::string dots_of(const Series& series, const Frame& frame) {
  std::string d;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    d += fmt::format("M{}h0", point(frame, series.x[i], series.y[i]));
  }
  return d;
}

/// The points with a gap on both sides, which no line shows: the only one of a series, for instance.
Series isolated_of(const Series& series) {
  Series out;
  const auto is_there = [&](size_t i) { return i < series.y.size() && std::isfinite(series.y[i]); };
  for (size_t i = 0; i < series.y.size(); ++i) {
    if (!is_there(i) || (i > 0 && is_there(i - 1)) || is_there(i + 1)) continue;
    out.x.push_back(series.x[i]);
    out.y.push_back(series.y[i]);
  }
  return out;
}

void path(std::string& out, const char* classes, int color, const std::string& d) {
  out += fmt::format("<path class=\"{} s{}\" d=\"{}\"/>\n", classes, color, d);
}

void append_numbers(std::string& out, const std::vector<double>& values) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    if (std::isfinite(values[i])) {
      fmt::format_to(std::back_inserter(out), "{:.6g}", values[i]);
    } else {
      out += "null";
    }
  }
  out += ']';
}

/// JSON for the script: escaped as an attribute afterwards.
std::string hover_json(const std::vector<const ChartLine*>& lines, const std::vector<Series>& drawn) {
  std::string out = "[";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += ',';
    out += fmt::format("{{\"c\":{},\"x\":", lines[i]->color);
    append_numbers(out, drawn[i].x);
    out += ",\"y\":";
    append_numbers(out, drawn[i].y);
    out += '}';
  }
  return out + "]";
}

std::string legend(const std::vector<const ChartLine*>& lines) {
  if (lines.size() < 2) return {};
  std::string out = "<span class=\"legend\">";
  for (const ChartLine* line : lines) {
    out += fmt::format(
        "<span class=\"key\"><svg width=\"22\" height=\"10\" aria-hidden=\"true\"><path class=\"line{3} "
        "s{0}\" "
        "d=\"M1 5H21\"/>{1}</svg>{2}</span>",
        line->color, line->dots ? fmt::format("<path class=\"dots s{}\" d=\"M11 5h0\"/>", line->color) : "",
        html_escape(line->name), line->dashed ? " dashed" : "");
  }
  return out + "</span>";
}

/// What the chart shows, for readers who cannot see it.
std::string description(const Chart& chart, const std::vector<const ChartLine*>& lines) {
  std::string out = chart.title + " by " + chart.x_name + ".";
  for (const ChartLine* line : lines) {
    const auto& y = line->series.y;
    const auto finite = [](double v) { return std::isfinite(v); };
    const double first = *std::find_if(y.begin(), y.end(), finite);
    const double last = *std::find_if(y.rbegin(), y.rend(), finite);
    const auto text = [&](double v) { return chart.percent ? format_percent(v) : format_value(v); };
    out += fmt::format(" {}: from {} to {}.", line->name, text(first), text(last));
  }
  return out;
}

void append_grid(std::string& out, const Frame& frame) {
  std::string d;
  for (const AxisTick& tick : frame.y.ticks) {
    d += fmt::format("M0 {:.1f}H1000", 1000 - frame.y.position(tick.value) * 1000);
  }
  out += fmt::format("<path class=\"grid\" d=\"{}\"/>\n<path class=\"base\" d=\"M0 1000H1000\"/>\n", d);
}

void append_labels(std::string& out, const Frame& frame) {
  for (const AxisTick& tick : frame.y.ticks) {
    out += fmt::format("<span class=\"ty\" style=\"top:{:.2f}%\">{}</span>",
                       100 - frame.y.position(tick.value) * 100, tick.label);
  }
  out += "\n";
  for (const AxisTick& tick : frame.x.ticks) {
    out += fmt::format("<span class=\"tx\" style=\"left:{:.2f}%\">{}</span>",
                       frame.x.position(tick.value) * 100, tick.label);
  }
  out += "\n";
}

/// Epochs below the steps; whether there are any to show.
bool append_epochs(std::string& out, const Frame& frame, double steps_per_epoch) {
  if (!(steps_per_epoch > 0) || frame.x.high / steps_per_epoch < 1) return false;
  const Axis epochs = make_axis(frame.x.low / steps_per_epoch, frame.x.high / steps_per_epoch,
                                {.round_ends = false, .integers = true});
  for (const AxisTick& tick : epochs.ticks) {
    const double at = frame.x.position(tick.value * steps_per_epoch);
    if (at < 0 || at > 1) continue;
    out += fmt::format("<span class=\"te\" style=\"left:{:.2f}%\">{}</span>", at * 100, tick.label);
  }
  out += "\n";
  return true;
}

/// The y range to show. A percentage that spends most steps near its top is cut below the
/// tenth percentile, where the differences are that a reader looks for.
Extent y_range(const Chart& chart, const std::vector<const ChartLine*>& lines, bool& cut) {
  Extent range{INFINITY, -INFINITY};
  double start = INFINITY;
  for (const ChartLine* line : lines) {
    const Extent extent = extent_of(line->series.y);
    range.low = std::min(range.low, extent.low);
    range.high = std::max(range.high, extent.high);
    start = std::min(start, quantile_of(line->series.y, 0.1));
  }
  cut = chart.percent && range.high - start < kCutBelow * (range.high - range.low);
  if (cut) range.low = start;
  return range;
}

/// The moving mean over a twentieth of the points. On a logarithmic axis the mean of the
/// logarithms, so that the line runs through the middle of the points that are seen.
Series smoothed(Series series, bool log) {
  if (log) {
    for (double& y : series.y) y = y > 0 ? std::log(y) : std::numeric_limits<double>::quiet_NaN();
  }
  const Series binned = bin_means(series, kSmoothBins);
  Series mean = moving_mean(binned, binned.x.size() / 40 * 2 + 1);
  if (log) {
    for (double& y : mean.y) y = std::exp(y);
  }
  return mean;
}

void append_paths(std::string& out, const Frame& frame, const ChartLine& line, const Series& drawn) {
  const size_t n = line.series.x.size();
  const bool smooth = line.smooth_from > 0 && n > line.smooth_from;
  const char* const strong = line.dashed ? "line dashed" : "line";
  if (!smooth || !line.only_smooth)
    path(out, smooth ? "line faint" : strong, line.color, path_of(drawn, frame));
  if (smooth) {
    path(out, strong, line.color, path_of(smoothed(line.series, frame.y.log), frame));
  }
  if (line.dots && n <= kMostDots) {
    path(out, "dots", line.color, dots_of(drawn, frame));
  } else if (const Series isolated = isolated_of(drawn); !isolated.empty()) {
    path(out, "dots", line.color, dots_of(isolated, frame));
  }
}

std::string names_of(const std::vector<const ChartLine*>& lines) {
  std::string names;
  for (const ChartLine* line : lines) names += (names.empty() ? "" : "\n") + line->name;
  return names;
}

}  // namespace

std::string chart_html(const Chart& chart) {
  std::vector<const ChartLine*> lines;
  double x_low = chart.log_x ? INFINITY : chart.last_x, x_high = chart.last_x;
  for (const ChartLine& line : chart.lines) {
    if (line.series.empty()) continue;
    lines.push_back(&line);
    x_low = std::min(x_low, line.series.x.front());
    x_high = std::max(x_high, line.series.x.back());
  }
  if (lines.empty()) return {};
  if (!chart.log_x && x_low < 0.2 * x_high) x_low = 0;

  bool cut = false;
  const Extent range = y_range(chart, lines, cut);
  Frame frame;
  frame.x = make_axis(x_low, x_high,
                      {.round_ends = false, .allow_log = chart.log_x, .integers = chart.x_name == "step"});
  frame.y = make_axis(range.low, range.high,
                      {.include_zero = chart.from_zero,
                       .near_zero = !cut,
                       .allow_log = chart.allow_log,
                       .percent = chart.percent});

  std::string paths, marks, labels;
  std::vector<Series> drawn;
  for (const ChartLine* line : lines) {
    drawn.push_back(thin_series(line->series, kChartPoints));
    append_paths(paths, frame, *line, drawn.back());
  }
  for (const ChartMark& mark : chart.marks) {
    if (mark.x < frame.x.low || mark.x > frame.x.high) continue;
    const double at = frame.x.position(mark.x);
    marks += fmt::format("<path class=\"mark\" d=\"M{:.1f} 0V1000\"/>\n", at * 1000);
    labels += fmt::format("<span class=\"tm{}\" style=\"left:{:.2f}%\">{}</span>", at > 0.8 ? " left" : "",
                          at * 100, html_escape(mark.label));
  }

  std::string unit = chart.unit;
  if (frame.y.log) unit += unit.empty() ? "logarithmic" : ", logarithmic";
  if (cut) unit += fmt::format("{}from {:.4g} up", unit.empty() ? "" : ", ", frame.y.low * 100);
  std::string out = "<figure class=\"card chart\">\n<figcaption><b>" + html_escape(chart.title) + "</b>";
  if (!unit.empty()) out += " <span class=\"unit\">" + html_escape(unit) + "</span>";
  out += legend(lines) + "</figcaption>\n";
  out += fmt::format(
      "<div class=\"plot\" data-low=\"{:.6g}\" data-high=\"{:.6g}\" data-epoch=\"{:.6g}\" "
      "data-percent=\"{:d}\"{} data-names=\"{}\" data-lines=\"{}\">\n",
      frame.x.low, frame.x.high, chart.steps_per_epoch, chart.percent,
      chart.x_name == "step"
          ? std::string()
          : fmt::format(" data-x=\"{}\" data-log=\"{:d}\"", html_escape(chart.x_name), frame.x.log),
      html_escape(names_of(lines)), html_escape(hover_json(lines, drawn)));
  out += "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" +
         html_escape(description(chart, lines)) + "\">\n";
  append_grid(out, frame);
  out += marks + paths + "</svg>\n" + labels;
  append_labels(out, frame);
  const bool epochs = append_epochs(out, frame, chart.steps_per_epoch);
  return out + (epochs
                    ? "</div>\n<div class=\"xtitle epochs\">step, and epoch below it</div>\n</figure>\n"
                    : "</div>\n<div class=\"xtitle\">" + html_escape(chart.x_name) + "</div>\n</figure>\n");
}

}  // namespace lockstep
