// The page of a sweep: its table, every cell as a line through the axes of its settings, and the best cells'
// curves. It holds no date and no path, so that equal sweeps give equal pages.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "src/report/chart/axis.h"
#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"
#include "src/run/select/trial.h"

namespace lockstep {

namespace {

constexpr size_t kMostCurves = 8;
constexpr double kPlotHeight = 300, kPlotTop = 40, kPlotWidth = 800, kLeastApart = 140, kPlotLeft = 90;
constexpr size_t kMostTicks = 8;  // of the values themselves

std::string key_of(const std::string& assignment) { return assignment.substr(0, assignment.find('=')); }
std::string value_of(const std::string& assignment) { return assignment.substr(assignment.find('=') + 1); }

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

bool sweep_metric_is_share(const MetricList& metrics, const std::string& name) {
  return std::any_of(metrics.all().begin(), metrics.all().end(), [&](const MetricList::Named& metric) {
    return metric.name == name && metric.metric->is_share();
  });
}

std::string sweep_value(const MetricList& metrics, const std::string& name, double value) {
  return html_escape(sweep_metric_is_share(metrics, name) ? format_percent(value) : format_value(value));
}

/// An axis of the parallel coordinates: of numbers, or of words at equal distances.
struct Coordinate {
  std::string title;
  std::vector<double> heights;  // of each cell, 0 (bottom) to 1; NaN: none
  std::vector<std::pair<double, std::string>> ticks;
};

/// words: of each cell, its value as it was given; empty: it was not.
Coordinate of_numbers(const std::string& title, const std::vector<double>& values,
                      const std::vector<std::string>& words, bool is_percent) {
  Coordinate coordinate{title, std::vector<double>(values.size(), kNaN), {}};
  double low = INFINITY, high = -INFINITY;
  for (const double value : values)
    if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  if (low > high) return coordinate;
  AxisOptions options;
  options.round_ends = false;
  options.near_zero = false;
  options.allow_log = !is_percent;
  options.percent = is_percent && low >= 0 && high <= 1;
  const Axis axis = make_axis(low, high, options);
  for (size_t i = 0; i < values.size(); ++i)
    if (std::isfinite(values[i])) coordinate.heights[i] = axis.position(values[i]);
  std::vector<double> kinds = values;
  std::sort(kinds.begin(), kinds.end());
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  if (!words.empty() && kinds.size() <= kMostTicks) {
    for (const double kind : kinds) {
      const auto cell = std::find(values.begin(), values.end(), kind) - values.begin();
      coordinate.ticks.emplace_back(axis.position(kind), words[static_cast<size_t>(cell)]);
    }
    return coordinate;
  }
  for (const AxisTick& tick : axis.ticks)
    coordinate.ticks.emplace_back(axis.position(tick.value), tick.label);
  return coordinate;
}

Coordinate of_words(const std::string& title, const std::vector<std::string>& words) {
  std::vector<std::string> kinds;
  for (const std::string& word : words)
    if (std::find(kinds.begin(), kinds.end(), word) == kinds.end()) kinds.push_back(word);
  Coordinate coordinate{title, {}, {}};
  const auto height = [&](const std::string& word) {
    const auto at = std::find(kinds.begin(), kinds.end(), word) - kinds.begin();
    return kinds.size() < 2 ? 0.5 : static_cast<double>(at) / static_cast<double>(kinds.size() - 1);
  };
  for (const std::string& word : words) coordinate.heights.push_back(height(word));
  for (const std::string& kind : kinds) coordinate.ticks.emplace_back(height(kind), kind);
  return coordinate;
}

std::vector<Coordinate> coordinates_of(const std::vector<Trial>& cells,
                                       const std::vector<TrialOutcome>& outcomes, const MetricList& metrics,
                                       const Measure& measure) {
  std::vector<Coordinate> coordinates;
  for (size_t k = 0; k < cells.front().assignments.size(); ++k) {
    std::vector<std::string> words;
    std::vector<double> numbers;
    for (const Trial& cell : cells) {
      words.push_back(value_of(cell.assignments[k]));
      if (const std::optional<double> number = number_in(words.back())) numbers.push_back(*number);
    }
    const std::string title = key_of(cells.front().assignments[k]);
    coordinates.push_back(numbers.size() == words.size() ? of_numbers(title, numbers, words, false)
                                                         : of_words(title, words));
  }
  std::vector<double> bests;
  for (const TrialOutcome& outcome : outcomes) bests.push_back(outcome.best);
  coordinates.push_back(
      of_numbers("best " + measure.name, bests, {}, sweep_metric_is_share(metrics, measure.name)));
  return coordinates;
}

std::string parallel_coordinates(const std::vector<Trial>& cells, const std::vector<TrialOutcome>& outcomes,
                                 const MetricList& metrics, const Measure& measure) {
  const std::vector<Coordinate> axes = coordinates_of(cells, outcomes, metrics, measure);
  const double apart = std::max(kLeastApart, kPlotWidth / static_cast<double>(axes.size() - 1));
  const auto x_of = [&](size_t axis) { return kPlotLeft + apart * static_cast<double>(axis); };
  const auto y_of = [](double height) { return kPlotTop + kPlotHeight * (1 - height); };
  std::string lines, marks;
  const std::vector<size_t> order = ranked(outcomes, measure);
  for (size_t r = order.size(); r-- > 0;) {  // the best in front
    const size_t cell = order[r];
    std::string path;
    for (size_t a = 0; a < axes.size(); ++a) {
      if (!std::isfinite(axes[a].heights[cell])) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x_of(a), y_of(axes[a].heights[cell]));
    }
    lines += fmt::format(
        "<path class=\"line {}\" d=\"{}\"><title>{}</title></path>\n",
        r < kMostCurves ? fmt::format("s{}", r + 1) : "s8 faint", path,
        html_escape(fmt::format("{}: {}", cells[cell].name, fmt::join(cells[cell].assignments, ", "))));
  }
  for (size_t a = 0; a < axes.size(); ++a) {
    marks += fmt::format(
        "<path class=\"base\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/>\n<text fill=\"currentColor\" "
        "font-size=\"13\" text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3:.1f}\">{4}</text>\n",
        x_of(a), kPlotTop, kPlotTop + kPlotHeight, kPlotTop - 16, html_escape(axes[a].title));
    for (const auto& [height, label] : axes[a].ticks)
      marks += fmt::format(
          "<text fill=\"currentColor\" font-size=\"11\" text-anchor=\"end\" x=\"{:.1f}\" "
          "y=\"{:.1f}\">{}</text>\n",
          x_of(a) - 6, y_of(height) + 4, html_escape(label));
  }
  const double width = x_of(axes.size() - 1) + 60;
  return fmt::format(
      "<section class=\"card long\">\n<h2>Every cell through its settings</h2>\n<div class=\"scroll\"><svg "
      "width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\" "
      "aria-label=\"Parallel "
      "coordinates of {2} cells\">\n{3}{4}</svg></div>\n<p class=\"note\">One line per cell, the best {5} in "
      "colours; cells without a result end at their settings.</p>\n</section>\n",
      width, kPlotTop + kPlotHeight + 20, cells.size(), lines, marks, std::min(kMostCurves, cells.size()));
}

std::string sweep_table(const std::vector<Trial>& cells, const std::vector<TrialOutcome>& outcomes,
                        const MetricList& metrics, const Measure& measure) {
  std::string head = "<th>cell</th>", rows;
  for (const std::string& assignment : cells.front().assignments)
    head += "<th class=\"num\">" + html_escape(key_of(assignment)) + "</th>";
  head += "<th>status</th><th class=\"num\">best step</th>";
  const std::vector<std::string> names = validated_names(metrics);
  for (const std::string& name : names) head += "<th class=\"num\">" + html_escape(name) + "</th>";
  size_t rank = 0;
  for (const size_t i : ranked(outcomes, measure)) {
    const size_t color = rank++;
    rows += fmt::format("<tr><td class=\"text\"><span class=\"swatch {}\"></span> {}</td>",
                        color < kMostCurves ? fmt::format("c{}", color + 1) : "", html_escape(cells[i].name));
    for (const std::string& assignment : cells[i].assignments)
      rows += "<td class=\"num\">" + html_escape(value_of(assignment)) + "</td>";
    rows += "<td>" + html_escape(outcomes[i].words.empty() ? "not begun" : outcomes[i].words) +
            "</td><td class=\"num\">" + format_count(outcomes[i].best_step) + "</td>";
    for (const std::string& name : names)
      rows += "<td class=\"num\">" + sweep_value(metrics, name, outcomes[i].best_of(name)) + "</td>";
    rows += "</tr>\n";
  }
  return "<section class=\"card long\">\n<h2>Cells, the best first</h2>\n<div class=\"scroll\"><table>\n"
         "<thead><tr>" +
         head + "</tr></thead>\n<tbody>\n" + rows +
         "</tbody></table></div>\n<p class=\"note\">Ordered by the best validation " +
         html_escape(measure.name) + "; all numbers are of that step.</p>\n</section>\n";
}

std::string sweep_curves(const std::vector<Trial>& cells, const std::vector<TrialOutcome>& outcomes,
                         const MetricList& metrics, const Measure& measure) {
  const std::vector<size_t> order = ranked(outcomes, measure);
  std::vector<std::string> names{measure.name};
  if (measure.name != "loss") names.emplace_back("loss");
  std::string out;
  for (const std::string& name : names) {
    Chart chart{.title = "Validation: " + name};
    chart.percent = sweep_metric_is_share(metrics, name);
    if (chart.percent) chart.unit = "%";
    chart.allow_log = name == "loss";
    for (size_t r = 0; r < std::min(order.size(), kMostCurves); ++r)
      chart.lines.push_back({.name = cells[order[r]].name,
                             .color = static_cast<int>(r) + 1,
                             .dots = true,
                             .series = outcomes[order[r]].data.validation.series(name)});
    out += chart_html(chart);
  }
  return out.empty() ? out : "<div class=\"charts\">\n" + out + "</div>\n";
}

}  // namespace

std::string sweep_page(const std::string& name, const std::vector<Trial>& cells,
                       const std::vector<TrialOutcome>& outcomes, const MetricList& metrics,
                       const Measure& measure) {
  return page_head(name + " – sweep") + "<header><h1>" + html_escape(name) +
         ": sweep</h1><button type=\"button\" hidden>dark</button></header>\n" +
         sweep_table(cells, outcomes, metrics, measure) +
         parallel_coordinates(cells, outcomes, metrics, measure) +
         sweep_curves(cells, outcomes, metrics, measure) +
         page_end("Made by Lockstep. Values as logged in each cell's metrics.jsonl.");
}

}  // namespace lockstep
