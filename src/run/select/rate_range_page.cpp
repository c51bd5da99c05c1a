// The page of a learning-rate range test. It holds no date and no path, so that equal tests give equal pages.
#include <fmt/format.h>

#include <cmath>

#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"
#include "src/run/select/rate_range.h"

namespace lockstep {

namespace {

constexpr double kLabelWidth = 0.1;  // of the chart, which the word at a mark takes

std::string rate_tile(const char* name, double rate, const char* more) {
  return fmt::format("<div class=\"tile\"><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", name,
                     format_value(rate), more);
}

Chart loss_over_rate(const RateRange& range) {
  Chart chart{.title = "Training loss by learning rate"};
  chart.allow_log = true;
  chart.x_name = "learning rate";
  chart.log_x = true;
  chart.lines.push_back({.name = "each step", .color = 1, .series = {range.rates, range.losses}});
  chart.lines.push_back({.name = "smoothed", .color = 2, .series = {range.rates, range.smoothed}});
  const double decades = std::log10(range.rates.back() / range.rates.front());
  const bool is_close = std::log10(range.minimum / range.steepest) < kLabelWidth * decades;
  if (std::isfinite(range.steepest))
    chart.marks.push_back({range.steepest, is_close ? "steepest, minimum" : "steepest"});
  if (std::isfinite(range.minimum))
    chart.marks.push_back({range.minimum, is_close && std::isfinite(range.steepest) ? "" : "minimum"});
  return chart;
}

std::string rate_verdict(const RateRange& range) {
  const bool falls = std::isfinite(range.steepest);
  std::string text =
      fmt::format("<section class=\"card verdict\">\n<p><b{}>{}.</b> {} steps from rate {} to {}{}. ",
                  falls ? "" : " class=\"warn\"",
                  falls ? fmt::format("Try {} to {}", format_value(std::min(range.steepest, range.tenth())),
                                      format_value(std::max(range.steepest, range.tenth())))
                        : std::string("The loss never fell"),
                  range.rates.size(), format_value(range.rates.front()), format_value(range.rates.back()),
                  range.end.empty() ? "" : ", where " + range.end);
  text += falls ? "The loss falls fastest at the lower part of a good range; near its minimum training is "
                  "about to diverge. A schedule with warm-up bears more than a constant rate."
                : "Look at the data, the labels and the range: no rate of it taught the network anything.";
  if (range.falls_to_the_end()) text += " The loss still fell at the last rate: a higher --to shows more.";
  return text + "</p>\n</section>\n";
}

}  // namespace

std::string rate_range_page(const RateRange& range, const std::string& name) {
  std::string out = page_head(name + " – learning-rate range") + "<header><h1>" + html_escape(name) +
                    ": learning-rate range</h1><button type=\"button\" hidden>dark</button></header>\n";
  out += "<dl class=\"card tiles\">\n" +
         rate_tile("Steepest descent", range.steepest, "of the smoothed loss") +
         rate_tile("A tenth of the minimum", range.tenth(), "the cautious choice") +
         rate_tile("Minimum", range.minimum, "of the smoothed loss: too high") + "</dl>\n";
  out += rate_verdict(range) + "<div class=\"charts\">\n" + chart_html(loss_over_rate(range)) + "</div>\n";
  return out + page_end(
                   "Made by Lockstep. Each loss is that of its step's samples, before the update; the "
                   "smoothed one is their mean over the neighbouring twentieth of the steps.");
}

}  // namespace lockstep
