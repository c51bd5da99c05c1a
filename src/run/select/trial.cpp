#include "src/run/select/trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "io/files/metrics.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// The value of a column at the last validation of that step.
double at_step(const MetricsTable& table, const std::string& key, double step) {
  const auto column = table.columns.find(key);
  if (column == table.columns.end()) return kNaN;
  for (size_t i = table.step.size(); i-- > 0;)
    if (table.step[i] == step) return column->second[i];
  return kNaN;
}

}  // namespace

double TrialOutcome::last_of(const std::string& metric) const {
  return data.validation.step.empty() ? kNaN : at_step(data.validation, metric, data.validation.step.back());
}

double TrialOutcome::best_of(const std::string& metric) const {
  return at_step(data.validation, metric, best_step);
}

TrialOutcome read_trial(const std::string& folder, const std::string& job_text, const Measure& measure) {
  TrialOutcome outcome;
  if (!std::filesystem::exists(folder + "/metrics.jsonl")) return outcome;
  outcome.data = read_run(folder);
  if (!outcome.data.job.ends_with(job_text))
    throw Error(folder, "holds a run of this name with other settings",
                "name another --out, or start over with --overwrite");
  outcome.status = TrialOutcome::Status::kUnfinished;
  outcome.words = "interrupted";
  if (outcome.data.has_end) {
    const std::string* words = outcome.data.end.text("status");
    if (words) outcome.words = *words;
    if (outcome.words == "finished" || outcome.words == "early_stopped")
      outcome.status = TrialOutcome::Status::kFinished;
    if (outcome.words == "not_finite") outcome.status = TrialOutcome::Status::kFailed;
  }
  const auto values = outcome.data.validation.columns.find(measure.name);
  if (values == outcome.data.validation.columns.end()) return outcome;
  for (size_t i = 0; i < values->second.size(); ++i) {
    const double value = values->second[i];
    if (!std::isfinite(value) || (std::isfinite(outcome.best) && !measure.is_better(value, outcome.best)))
      continue;
    outcome.best = value;
    outcome.best_step = outcome.data.validation.step[i];
  }
  return outcome;
}

std::vector<std::string> validated_names(const MetricList& metrics) {
  std::vector<std::string> names{"loss"};
  for (const MetricList::Named& metric : metrics.all()) names.push_back(metric.name);
  return names;
}

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  double sum = 0, squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) sum += value, ++spread.n;
  if (spread.n == 0) return spread;
  spread.mean = sum / static_cast<double>(spread.n);
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - spread.mean) * (value - spread.mean);
  if (spread.n > 1) spread.deviation = std::sqrt(squares / static_cast<double>(spread.n - 1));
  return spread;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_cell(double value) { return std::isfinite(value) ? json_number(value) : ""; }

std::string folds_csv(const std::vector<Trial>& folds, const std::vector<TrialOutcome>& outcomes,
                      const std::vector<std::string>& metrics) {
  std::string text = "fold,status,steps";
  for (const std::string& metric : metrics) text += "," + csv_cell(metric);
  text += ",best_step";
  for (const std::string& metric : metrics) text += ",best_" + csv_cell(metric);
  text += "\n";
  std::vector<std::vector<double>> columns(2 * metrics.size());
  for (size_t i = 0; i < folds.size(); ++i) {
    const TrialOutcome& outcome = outcomes[i];
    text += csv_cell(folds[i].name) + "," + outcome.words + "," + csv_cell(outcome.data.last_step());
    for (size_t m = 0; m < metrics.size(); ++m) {
      columns[m].push_back(outcome.last_of(metrics[m]));
      text += "," + csv_cell(columns[m].back());
    }
    text += "," + csv_cell(outcome.best_step);
    for (size_t m = 0; m < metrics.size(); ++m) {
      columns[metrics.size() + m].push_back(outcome.best_of(metrics[m]));
      text += "," + csv_cell(columns[metrics.size() + m].back());
    }
    text += "\n";
  }
  for (const char* row : {"mean", "deviation"}) {
    text += std::string(row) + ",,";
    for (size_t c = 0; c < columns.size(); ++c) {
      if (c == metrics.size()) text += ",";
      const Spread spread = spread_of(columns[c]);
      text += "," + csv_cell(*row == 'm' ? spread.mean : spread.deviation);
    }
    text += "\n";
  }
  return text;
}

std::vector<size_t> ranked(const std::vector<TrialOutcome>& outcomes, const Measure& measure) {
  std::vector<size_t> order(outcomes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const double x = outcomes[a].best, y = outcomes[b].best;
    if (!std::isfinite(x) || !std::isfinite(y)) return std::isfinite(x) && !std::isfinite(y);
    return measure.is_better(x, y);
  });
  return order;
}

std::string sweep_csv(const std::vector<Trial>& cells, const std::vector<TrialOutcome>& outcomes,
                      const std::vector<std::string>& metrics, const Measure& measure) {
  std::string text = "rank,cell";
  for (const std::string& assignment : cells.front().assignments)
    text += "," + csv_cell(assignment.substr(0, assignment.find('=')));
  text += ",status,steps,best_step";
  for (const std::string& metric : metrics) text += "," + csv_cell(metric);
  text += "\n";
  int64_t rank = 0;
  for (const size_t i : ranked(outcomes, measure)) {
    text += fmt::format("{},{}", ++rank, csv_cell(cells[i].name));
    for (const std::string& assignment : cells[i].assignments)
      text += "," + csv_cell(assignment.substr(assignment.find('=') + 1));
    text += "," + outcomes[i].words + "," + csv_cell(outcomes[i].data.last_step()) + "," +
            csv_cell(outcomes[i].best_step);
    for (const std::string& metric : metrics) text += "," + csv_cell(outcomes[i].best_of(metric));
    text += "\n";
  }
  return text;
}

}  // namespace lockstep
