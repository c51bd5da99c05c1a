// Headline, charts, events and job of the report page.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"

namespace lockstep {
namespace {

constexpr size_t kMostEvents = 500;
constexpr size_t kSmoothFrom = 150;

void tile(std::string& out, const std::string& name, const std::string& value, const std::string& more = {}) {
  out += "<div class=\"tile\"><dt>" + html_escape(name) + "</dt><dd>" + html_escape(value);
  if (!more.empty()) out += "<small>" + html_escape(more) + "</small>";
  out += "</dd></div>\n";
}

std::string best_words(double last, double best, const std::string& shown, double step) {
  if (last == best) return "the best of the run";
  return "best " + shown + ", step " + format_count(step);
}

std::string status_of(const RunData& run, bool& bad) {
  bad = false;
  if (!run.has_end) return "running or interrupted, at step " + format_count(run.last_step());
  const std::string* status = run.end.text("status");
  std::string words = status != nullptr ? *status : "ended";
  bad = words == "failed" || words == "not_finite";
  if (words == "not_finite") words = "ended because the loss was not finite, after the last good step,";
  if (words == "early_stopped") words = "stopped early";
  return words + " at step " + format_count(run.last_step());
}

/// One chart of a quantity that training lines, validation lines or both may carry.
Chart chart_of(const RunData& run, const std::string& key, const std::string& title,
               const std::string& unit) {
  Chart chart;
  chart.title = title;
  chart.unit = unit;
  chart.steps_per_epoch = run.steps_per_epoch();
  chart.last_x = run.last_step();
  chart.lines.push_back(
      {.name = "training", .color = 1, .smooth_from = kSmoothFrom, .series = run.train.series(key)});
  chart.lines.push_back(
      {.name = "validation", .color = 2, .dots = true, .series = run.validation.series(key)});
  for (const RunEvent& event : run.events) {
    if (event.kind == "resume" && std::isfinite(event.step)) chart.marks.push_back({event.step, "resumed"});
  }
  return chart;
}

/// A chart of lines that `lines` gives, over the run's steps.
Chart run_chart(const RunData& run, const std::string& title, const std::string& unit,
                std::vector<ChartLine> lines) {
  Chart chart{.title = title, .unit = unit, .from_zero = true};
  chart.steps_per_epoch = run.steps_per_epoch();
  chart.last_x = run.last_step();
  chart.lines = std::move(lines);
  return chart;
}

/// How much worse validation is than training: a network that goes on learning by heart rises here.
Chart gap_chart(const RunData& run) {
  return run_chart(run, "Gap: validation loss less training loss", "",
                   {{.name = "gap", .color = 3, .dots = true, .series = run.gap("loss")}});
}

/// Shares of the time between lines; computing is the rest.
Chart waiting_chart(const RunData& run) {
  std::vector<ChartLine> lines{{.name = "for data", .color = 2, .smooth_from = kSmoothFrom},
                               {.name = "for communication", .color = 1, .smooth_from = kSmoothFrom}};
  lines[0].series = run.share_of_time("data_wait_s");
  lines[1].series = run.share_of_time("communication_s");
  for (ChartLine& line : lines) {
    for (double& share : line.series.y) share *= 100;
  }
  return run_chart(run, "Waiting", "% of the time", std::move(lines));
}

/// Numeric keys that the trainer adds beyond those the page knows, such as a task's metric.
std::set<std::string> further_keys(const RunData& run) {
  static const std::set<std::string> kKnown = {"epoch",  "loss",          "accuracy",
                                               "lr",     "samples_per_s", "grad_norm",
                                               "time_s", "data_wait_s",   "communication_s"};
  std::set<std::string> keys;
  for (const MetricsTable* table : {&run.train, &run.validation}) {
    for (const auto& [key, column] : table->columns) {
      if (!kKnown.contains(key) && table->has(key)) keys.insert(key);
    }
  }
  return keys;
}

/// The metric that runs were compared by, where it is neither accuracy nor loss; "" before the run's end.
std::string best_metric(const RunData& run) {
  const std::string prefix = "best_";
  for (const auto& [key, value] : run.end.items) {
    const std::string name = key.starts_with(prefix) ? key.substr(prefix.size()) : "";
    if (name != "accuracy" && name != "loss" && run.validation.has(name)) return name;
  }
  return "";
}

void fact(std::string& out, const std::string& name, const std::string& value) {
  if (value.empty() || value == "–") return;
  out += "<dt>" + html_escape(name) + "</dt><dd>" + html_escape(value) + "</dd>\n";
}

/// Seed and data of the job; nothing where its text is no job.
std::vector<std::pair<std::string, std::string>> facts_of_job(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> facts;
  try {
    const YAML::Node job = YAML::Load(text);
    if (!job.IsMap()) return facts;
    facts.emplace_back("Seed", job["seed"] && job["seed"].IsScalar() ? job["seed"].Scalar() : "1");
    const YAML::Node data = job["data"];
    if (!data || !data.IsMap()) return facts;
    for (const auto& [key, name] : {std::pair{"train", "Training data"}, {"validation", "Validation data"}}) {
      YAML::Node source = data[key];
      if (source && source.IsMap()) source.reset(source["path"]);
      if (source && source.IsScalar()) facts.emplace_back(name, source.Scalar());
    }
  } catch (const YAML::Exception&) {
  }
  return facts;
}

}  // namespace

std::string headline_html(const RunData& run, const RunSummary& s) {
  bool bad = false;
  const std::string status = status_of(run, bad);
  std::string out = "<header><h1>" + html_escape(run.name) + "</h1><span class=\"status" +
                    (bad ? " bad" : "") + "\">" + html_escape(status) +
                    "</span><button type=\"button\" hidden>dark</button></header>\n";
  out += "<dl class=\"card tiles\">\n";
  if (std::isfinite(s.validation_accuracy)) {
    tile(out, "Validation accuracy", format_percent(s.validation_accuracy),
         best_words(s.validation_accuracy, s.best_accuracy, format_percent(s.best_accuracy),
                    s.best_accuracy_step));
  } else if (std::isfinite(s.train_accuracy)) {
    tile(out, "Training accuracy", format_percent(s.train_accuracy), "over the last epoch");
  }
  if (std::isfinite(s.validation_loss)) {
    tile(out, "Validation loss", format_value(s.validation_loss),
         best_words(s.validation_loss, s.best_loss, format_value(s.best_loss), s.best_loss_step));
  }
  if (const std::string metric = best_metric(run); !metric.empty()) {
    const double last = run.validation.last(metric), best = *run.end.number("best_" + metric);
    const double* const step = run.end.number("best_step");
    tile(out, "Validation " + metric, format_value(last),
         step ? best_words(last, best, format_value(best), *step) : "");
  }
  if (std::isfinite(s.train_loss))
    tile(out, "Training loss", format_value(s.train_loss), "over the last epoch");
  if (std::isfinite(s.samples_per_s))
    tile(out, "Throughput", format_value(s.samples_per_s), "samples/s, median");
  const double steps_per_epoch = run.steps_per_epoch(), wall = run.wall_time_s();
  if (std::isfinite(wall)) {
    tile(out, "Wall time", format_duration(wall),
         steps_per_epoch > 0 ? fmt::format("{:.4g} epochs", run.last_step() / steps_per_epoch) : "");
  }
  const double ranks = run.number("ranks"), threads = run.number("threads");
  if (std::isfinite(ranks)) {
    tile(out, "Ranks", format_count(ranks),
         std::isfinite(threads)
             ? fmt::format("{} thread{} each", format_count(threads), threads == 1 ? "" : "s")
             : "");
  }
  const double parameters = run.number("parameters");
  if (std::isfinite(parameters)) {
    tile(out, "Parameters", format_short(parameters), parameters >= 10000 ? format_count(parameters) : "");
  }
  return out + "</dl>\n";
}

std::string charts_html(const RunData& run, const RunSummary& s) {
  Chart loss = chart_of(run, "loss", "Loss", "");
  loss.allow_log = true;
  Chart accuracy = chart_of(run, "accuracy", "Accuracy", "%");
  accuracy.percent = true;
  Chart lr = chart_of(run, "lr", "Learning rate", "");
  lr.lines[0].smooth_from = 0;
  lr.from_zero = true;
  Chart speed = chart_of(run, "samples_per_s", "Throughput", "samples/s");
  speed.lines[0].smooth_from = 600;
  speed.from_zero = true;
  Chart gradient = chart_of(run, "grad_norm", "Gradient norm", "");
  gradient.allow_log = true;
  const std::string metric = best_metric(run);
  const double* const best_step = run.end.number("best_step");
  const bool marks_metric = !metric.empty() && best_step;  // in its own chart
  if (!marks_metric && std::isfinite(s.best_accuracy_step)) {
    accuracy.marks.push_back({s.best_accuracy_step, "best"});
  } else if (!marks_metric && std::isfinite(s.best_loss_step)) {
    loss.marks.push_back({s.best_loss_step, "best"});
  }
  std::string out;
  int n_cards = 0;
  bool smooth = false;
  const auto add = [&](const Chart& chart) {
    const std::string html = chart_html(chart);
    out += html;
    n_cards += html.empty() ? 0 : 1;
    smooth = smooth || html.find("class=\"line faint") != std::string::npos;
  };
  for (const Chart* chart : {&loss, &accuracy}) add(*chart);
  add(gap_chart(run));
  for (const Chart* chart : {&lr, &speed, &gradient}) add(*chart);
  add(waiting_chart(run));
  for (const std::string& key : further_keys(run)) {
    Chart chart = chart_of(run, key, key, "");
    chart.allow_log = true;
    if (marks_metric && key == metric) chart.marks.push_back({*best_step, "best"});
    add(chart);
  }
  if (n_cards == 0) {
    return "<section class=\"card\"><p class=\"note\">No training or validation line has been logged "
           "yet.</p></section>\n";
  }
  out = "<div class=\"charts\">\n" + out + time_split_html(run, n_cards % 2 == 0) + "</div>\n";
  if (smooth)
    out += "<p class=\"note\">Faint: every logged value. Strong, in front of it: the moving mean.</p>\n";
  return out;
}

std::string events_html(const RunData& run) {
  if (run.events.empty()) return {};
  std::string out =
      "<section class=\"card long\">\n<h2>Events</h2>\n<div class=\"scroll tall\"><table>\n<thead><tr>"
      "<th class=\"num\">step</th><th>event</th><th>what</th></tr></thead>\n<tbody>\n";
  const size_t first = run.events.size() > kMostEvents ? run.events.size() - kMostEvents : 0;
  for (size_t i = first; i < run.events.size(); ++i) {
    const RunEvent& event = run.events[i];
    out += fmt::format(
        "<tr class=\"{}\"><td class=\"num\">{}</td><td>{}</td><td class=\"text\">{}</td></tr>\n",
        html_escape(event.kind), format_count(event.step), html_escape(event.kind), html_escape(event.text));
  }
  out += "</tbody></table></div>\n";
  if (first > 0)
    out += fmt::format("<p class=\"note\">The last {} of {}.</p>\n", kMostEvents, run.events.size());
  return out + "</section>\n";
}

std::string job_html(const RunData& run) {
  std::string facts;
  const std::string device = run.text("device"), device_name = run.text("device_name");
  fact(facts, "Device",
       device.empty() || device_name.empty() ? device + device_name : device + ", " + device_name);
  const double global_batch = run.number("global_batch"), micro_batch = run.number("micro_batch");
  if (std::isfinite(global_batch)) {
    fact(facts, "Batch",
         format_count(global_batch) +
             (std::isfinite(micro_batch) ? " in micro-batches of " + format_count(micro_batch) : ""));
  }
  for (const auto& [name, value] : facts_of_job(run.job)) fact(facts, name, value);
  fact(facts, "Training samples", format_count(run.number("train_samples")));
  fact(facts, "Validation samples", format_count(run.number("validation_samples")));
  fact(facts, "Steps planned", format_count(run.number("steps")));
  // Of the run's last start; runs of earlier versions name Lockstep's alone.
  const std::string with = "computed_with.";
  fact(facts, "Version", run.text(run.text(with + "Lockstep").empty() ? "version" : with + "Lockstep"));
  for (const auto& [key, value] : run.start.items) {
    const auto* text = std::get_if<std::string>(&value);
    if (text && key.starts_with(with) && key != with + "Lockstep" && key != with + "device")
      fact(facts, key.substr(with.size()), *text);
  }
  std::string out;
  if (!facts.empty())
    out +=
        "<section class=\"card\">\n<h2>Set-up</h2>\n<dl class=\"facts\">\n" + facts + "</dl>\n</section>\n";
  if (!run.job.empty()) {
    out += "<section class=\"card long\">\n<details><summary>job.yaml</summary>\n<pre>" +
           html_escape(run.job) + "</pre></details>\n</section>\n";
  }
  return out;
}

}  // namespace lockstep
