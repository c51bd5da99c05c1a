#include "src/report/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"

namespace lockstep {

namespace {

/// Two-sided 95 % of Student's t by degrees of freedom; beyond the table the normal's.
double student_t(size_t freedom) {
  constexpr std::array<double, 15> kTable{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                          2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131};
  return freedom <= kTable.size() ? kTable[freedom - 1] : 1.96 + 2.4 / static_cast<double>(freedom);
}

double median_of(const std::vector<double>& values) {
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  return n == 0 ? 0 : n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

std::vector<double> of_all(const ScalingRow& row, double (*value)(const ScalingSample&)) {
  std::vector<double> values;
  for (const ScalingSample& sample : row.samples) values.push_back(value(sample));
  return values;
}

std::string cell(double value) { return fmt::format("<td class=\"num\">{}</td>", format_value(value)); }
std::string share_cell(double value) { return fmt::format("<td class=\"num\">{:.1f} %</td>", 100 * value); }

Chart over_ranks(const std::string& title, bool percent) {
  Chart chart{.title = title};
  chart.percent = percent;
  if (percent) chart.unit = "%";
  chart.from_zero = true;
  chart.log_x = true;
  chart.x_name = "ranks";
  return chart;
}

}  // namespace

Estimate estimate(const std::vector<double>& values) {
  if (values.empty()) return {};
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const auto n = static_cast<double>(values.size());
  for (const double value : values) squares += (value - sum / n) * (value - sum / n);
  if (values.size() == 1) return {sum, 0};
  return {sum / n, student_t(values.size() - 1) * std::sqrt(squares / (n - 1) / n)};
}

ScalingResult ScalingStudy::result(size_t index) const {
  const ScalingRow &row = rows.at(index), &base = rows.front();
  ScalingResult result;
  result.step_ms = median_of(of_all(row, [](const ScalingSample& s) { return s.step_ms; }));
  result.samples_per_s = median_of(of_all(row, [](const ScalingSample& s) { return s.samples_per_s; }));
  std::vector<double> speed_ups, efficiencies, joules;
  for (size_t i = 0; i < std::min(row.samples.size(), base.samples.size()); ++i) {
    speed_ups.push_back(row.samples[i].samples_per_s / base.samples[i].samples_per_s);
    efficiencies.push_back(speed_ups.back() * base.ranks / row.ranks);
  }
  result.speed_up = estimate(speed_ups);
  result.efficiency = estimate(efficiencies);
  result.exposed_communication =
      median_of(of_all(row, [](const ScalingSample& s) { return s.communication_ms / s.step_ms; }));
  result.input_stall =
      median_of(of_all(row, [](const ScalingSample& s) { return s.data_wait_ms / s.step_ms; }));
  result.joules_per_sample =
      row.global_batch > 0
          ? median_of(of_all(row, [](const ScalingSample& s) { return s.joules; })) / double(row.global_batch)
          : 0;
  return result;
}

std::string scaling_csv(const ScalingStudy& study) {
  std::string out =
      "ranks,global_batch,micro_batch,rounds,step_ms,samples_per_s,speed_up,efficiency,"
      "efficiency_half_width,exposed_communication,input_stall,joules_per_sample\n";
  for (size_t i = 0; i < study.rows.size(); ++i) {
    const ScalingRow& row = study.rows[i];
    const ScalingResult r = study.result(i);
    out +=
        fmt::format("{},{},{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.3g},{:.4g},{:.4g},{}\n", row.ranks,
                    row.global_batch, row.micro_batch, row.samples.size(), r.step_ms, r.samples_per_s,
                    r.speed_up.value, r.efficiency.value, r.efficiency.half_width, r.exposed_communication,
                    r.input_stall, r.joules_per_sample > 0 ? fmt::format("{:.4g}", r.joules_per_sample) : "");
  }
  return out;
}

std::string scaling_page(const ScalingStudy& study) {
  std::vector<double> ranks, rates, ideal, efficiencies, exposed, stalls;
  bool has_energy = false;
  for (size_t i = 0; i < study.rows.size(); ++i) has_energy |= study.result(i).joules_per_sample > 0;
  std::string table =
      "<section class=\"card\">\n<h2>Steps</h2>\n<div class=\"scroll\"><table><tr><th "
      "class=\"num\">ranks</th><th "
      "class=\"num\">global batch</th><th class=\"num\">step, ms</th><th class=\"num\">samples/s</th><th "
      "class=\"num\">speed-up</th><th class=\"num\">efficiency</th><th class=\"num\">waiting for "
      "sums</th><th "
      "class=\"num\">waiting for input</th>";
  if (has_energy) table += "<th class=\"num\">joules a sample</th>";
  table += "</tr>\n";
  for (size_t i = 0; i < study.rows.size(); ++i) {
    const ScalingRow& row = study.rows[i];
    const ScalingResult r = study.result(i);
    ranks.push_back(row.ranks);
    rates.push_back(r.samples_per_s);
    ideal.push_back(study.result(0).samples_per_s / study.rows[0].ranks * row.ranks);
    efficiencies.push_back(r.efficiency.value);
    exposed.push_back(r.exposed_communication);
    stalls.push_back(r.input_stall);
    const std::string range = r.efficiency.half_width > 0
                                  ? fmt::format(" <small>± {:.1f}</small>", 100 * r.efficiency.half_width)
                                  : "";
    table += fmt::format("<tr><td class=\"num\">{}</td><td class=\"num\">{}</td>", row.ranks,
                         format_count(static_cast<double>(row.global_batch))) +
             cell(r.step_ms) + cell(r.samples_per_s) + cell(r.speed_up.value) +
             fmt::format("<td class=\"num\">{:.1f} %{}</td>", 100 * r.efficiency.value, range) +
             share_cell(r.exposed_communication) + share_cell(r.input_stall);
    if (has_energy) table += cell(r.joules_per_sample);
    table += "</tr>\n";
  }
  table += "</table></div>\n</section>\n";

  Chart rate = over_ranks("Samples per second", false);
  rate.lines.push_back({.name = "measured", .color = 1, .dots = true, .series = {ranks, rates}});
  rate.lines.push_back(
      {.name = "as the first row's ranks", .color = 2, .dashed = true, .series = {ranks, ideal}});
  Chart efficiency = over_ranks("Efficiency", true);
  efficiency.lines.push_back(
      {.name = "efficiency", .color = 1, .dots = true, .series = {ranks, efficiencies}});
  Chart waiting = over_ranks("Share of a step spent waiting", true);
  waiting.lines.push_back(
      {.name = "for sums of gradients", .color = 1, .dots = true, .series = {ranks, exposed}});
  waiting.lines.push_back({.name = "for input", .color = 3, .dots = true, .series = {ranks, stalls}});

  const std::string name = html_escape(study.name);
  return page_head(study.name + " – scaling") + "<header><h1>" + name + ": " + study.mode +
         " scaling</h1><button type=\"button\" hidden>dark</button></header>\n" + table +
         "<div class=\"charts\">\n" + chart_html(rate) + chart_html(efficiency) + chart_html(waiting) +
         "</div>\n" +
         page_end(
             study.mode == "weak"
                 ? "Made by Lockstep. Each rank keeps the same work; the global batch grows with the ranks. "
                   "Efficiency is the mean over rounds with its 95 % confidence, each round beside its own "
                   "first row."
                 : "Made by Lockstep. The global batch stays, and ranks share it. Efficiency is the mean "
                   "over "
                   "rounds with its 95 % confidence, each round beside its own first row.");
}

}  // namespace lockstep
