// The page of a cross-validation. It holds no date and no path, so that equal folds give equal pages.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"
#include "src/run/select/trial.h"

namespace lockstep {

namespace {

constexpr size_t kFoldColors = 8;

bool fold_metric_is_share(const MetricList& metrics, const std::string& name) {
  return std::any_of(metrics.all().begin(), metrics.all().end(), [&](const MetricList::Named& metric) {
    return metric.name == name && metric.metric->is_share();
  });
}

std::string shown(double value, bool is_share) {
  return html_escape(is_share ? format_percent(value) : format_value(value));
}

std::string folds_table(const std::vector<Trial>& folds, const std::vector<TrialOutcome>& outcomes,
                        const MetricList& metrics) {
  const std::vector<std::string> names = validated_names(metrics);
  std::string head, rows;
  for (const std::string& name : names) head += "<th class=\"num\">" + html_escape(name) + "</th>";
  for (const std::string& name : names)
    head += "<th class=\"num\">best step's " + html_escape(name) + "</th>";
  std::vector<std::vector<double>> columns(2 * names.size());
  for (size_t i = 0; i < folds.size(); ++i) {
    rows += fmt::format("<tr><td class=\"text\"><span class=\"swatch c{}\"></span> {}</td><td>{}</td>",
                        i % kFoldColors + 1, html_escape(folds[i].name), html_escape(outcomes[i].words));
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::string& name = names[c % names.size()];
      columns[c].push_back(c < names.size() ? outcomes[i].last_of(name) : outcomes[i].best_of(name));
      rows += "<td class=\"num\">" + shown(columns[c].back(), fold_metric_is_share(metrics, name)) + "</td>";
    }
    rows += "</tr>\n";
  }
  for (const bool is_mean : {true, false}) {
    rows += is_mean ? "<tr><td><b>mean</b></td><td></td>" : "<tr><td><b>standard deviation</b></td><td></td>";
    for (size_t c = 0; c < columns.size(); ++c) {
      const Spread spread = spread_of(columns[c]);
      rows += "<td class=\"num\"><b>" +
              shown(is_mean ? spread.mean : spread.deviation,
                    fold_metric_is_share(metrics, names[c % names.size()])) +
              "</b></td>";
    }
    rows += "</tr>\n";
  }
  return "<section class=\"card\">\n<h2>Folds</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>fold</th>"
         "<th>status</th>" +
         head + "</tr></thead>\n<tbody>\n" + rows +
         "</tbody></table></div>\n<p class=\"note\">On the part held out, after the last step. The best "
         "step was chosen on that part, so its numbers are a little too good. Deviations are of a sample "
         "(n - 1).</p>\n</section>\n";
}

std::string folds_curves(const std::vector<Trial>& folds, const std::vector<TrialOutcome>& outcomes,
                         const MetricList& metrics) {
  std::string out;
  for (const std::string& name : validated_names(metrics)) {
    Chart chart{.title = "Held out: " + name};
    chart.percent = fold_metric_is_share(metrics, name);
    if (chart.percent) chart.unit = "%";
    chart.allow_log = name == "loss";
    for (size_t i = 0; i < folds.size(); ++i)
      chart.lines.push_back({.name = folds[i].name,
                             .color = static_cast<int>(i % kFoldColors) + 1,
                             .dashed = i % (2 * kFoldColors) >= kFoldColors,
                             .dots = true,
                             .series = outcomes[i].data.validation.series(name)});
    out += chart_html(chart);
  }
  return out.empty() ? out : "<div class=\"charts\">\n" + out + "</div>\n";
}

}  // namespace

std::string folds_page(const std::string& name, const std::vector<Trial>& folds,
                       const std::vector<TrialOutcome>& outcomes, const MetricList& metrics) {
  std::string tiles = "<dl class=\"card tiles\">\n";
  for (const std::string& metric : validated_names(metrics)) {
    std::vector<double> values;
    for (const TrialOutcome& outcome : outcomes) values.push_back(outcome.last_of(metric));
    const Spread spread = spread_of(values);
    const bool is_share = fold_metric_is_share(metrics, metric);
    if (spread.n == 0) continue;
    tiles += fmt::format(
        "<div class=\"tile\"><dt>{}</dt><dd>{}<small>± {} over {} folds</small></dd></div>\n",
        html_escape(metric), shown(spread.mean, is_share), shown(spread.deviation, is_share), spread.n);
  }
  return page_head(name + " – cross-validation") + "<header><h1>" + html_escape(name) +
         ": cross-validation</h1><button type=\"button\" hidden>dark</button></header>\n" + tiles +
         "</dl>\n" + folds_table(folds, outcomes, metrics) + folds_curves(folds, outcomes, metrics) +
         page_end("Made by Lockstep. Values as logged in each fold's metrics.jsonl.");
}

}  // namespace lockstep
