// Runs are named by their folders, shortened to what differs. A setting is a key of job.yaml with its path;
// those that all runs share are left out.
#include "src/report/comparison.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "io/files/files.h"
#include "kernels/error.h"
#include "src/report/chart/chart.h"
#include "src/report/html.h"
#include "src/report/page.h"
#include "src/report/report.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int kColors = 8;
constexpr size_t kLongSetting = 60;  // letters

struct ComparedRun {
  std::string name;  // of the page
  std::string link;  // "" where the run has no page of its own
  RunData data;
  RunSummary summary;
  std::map<std::string, std::string> settings;  // by path, such as optimizer.sgd.lr
};

void flatten(const YAML::Node& node, const std::string& path, std::map<std::string, std::string>& out) {
  if (node.IsMap() && node.size() > 0) {
    for (const auto& item : node)
      flatten(item.second, (path.empty() ? "" : path + ".") + item.first.as<std::string>(), out);
    return;
  }
  YAML::Emitter text;
  text << YAML::Flow << node;
  out[path] = node.IsScalar() ? node.Scalar() : text.c_str();
}

std::map<std::string, std::string> settings_of(const std::string& job) {
  std::map<std::string, std::string> settings;
  try {
    const YAML::Node node = YAML::Load(job);
    if (node.IsMap()) flatten(node, "", settings);
  } catch (const YAML::Exception&) {  // the run's own page shows the text as it is
    settings.clear();
  }
  return settings;
}

/// The folders' names without the parts at their beginning that all share.
std::vector<std::string> short_names(const std::vector<std::string>& folders) {
  std::vector<std::vector<std::string>> parts;
  for (const std::string& folder : folders) {
    parts.emplace_back();
    for (const fs::path& part : fs::absolute(folder).lexically_normal()) {
      if (!part.empty()) parts.back().push_back(part.string());
    }
  }
  size_t shared = 0;
  const auto all_have = [&](size_t at) {
    return std::all_of(parts.begin(), parts.end(), [&](const std::vector<std::string>& path) {
      return at + 1 < path.size() && path[at] == parts[0][at];
    });
  };
  while (all_have(shared)) ++shared;
  std::vector<std::string> names;
  for (const std::vector<std::string>& path : parts) {
    fs::path name;
    for (size_t i = shared; i < path.size(); ++i) name /= path[i];
    names.push_back(name.string());
  }
  return names;
}

struct Column {
  std::string title;
  std::function<double(const ComparedRun&)> value;
  std::function<std::string(double)> text;
  int better = 0;  // +1: the largest is the best, -1: the smallest, 0: neither
};

std::vector<Column> columns() {
  return {
      {"steps", [](const ComparedRun& r) { return r.data.last_step(); }, format_count},
      {"training loss", [](const ComparedRun& r) { return r.summary.train_loss; }, format_value, -1},
      {"validation loss", [](const ComparedRun& r) { return r.summary.validation_loss; }, format_value, -1},
      {"best", [](const ComparedRun& r) { return r.summary.best_loss; }, format_value, -1},
      {"validation accuracy", [](const ComparedRun& r) { return r.summary.validation_accuracy; },
       format_percent, 1},
      {"best", [](const ComparedRun& r) { return r.summary.best_accuracy; }, format_percent, 1},
      {"samples/s", [](const ComparedRun& r) { return r.summary.samples_per_s; }, format_value, 1},
      {"wall time", [](const ComparedRun& r) { return r.data.wall_time_s(); }, format_duration},
      {"ranks", [](const ComparedRun& r) { return r.data.number("ranks"); }, format_count}};
}

std::string status_word(const RunData& run) {
  const std::string* const status = run.has_end ? run.end.text("status") : nullptr;
  return status ? *status : run.has_end ? "ended" : "running or interrupted";
}

std::string color_of(size_t i) { return fmt::format("c{}", i % kColors + 1); }

std::string results_html(const std::vector<ComparedRun>& runs) {
  std::string head, rows;
  std::vector<Column> shown;
  for (const Column& column : columns()) {
    const auto is_known = [&](const ComparedRun& run) { return std::isfinite(column.value(run)); };
    if (std::any_of(runs.begin(), runs.end(), is_known)) shown.push_back(column);
  }
  for (const Column& column : shown) head += "<th class=\"num\">" + html_escape(column.title) + "</th>";
  for (size_t i = 0; i < runs.size(); ++i) {
    const ComparedRun& run = runs[i];
    const std::string name = html_escape(run.name);
    rows += fmt::format(
        "<tr><td class=\"text\"><span class=\"swatch {}\"></span> {}</td><td>{}</td>", color_of(i),
        run.link.empty() ? name : "<a href=\"" + html_escape(run.link) + "\">" + name + "</a>",
        html_escape(status_word(run.data)));
    for (const Column& column : shown) {
      const double value = column.value(run);
      const bool is_best = column.better != 0 && std::isfinite(value) &&
                           std::none_of(runs.begin(), runs.end(), [&](const ComparedRun& other) {
                             return column.better * column.value(other) > column.better * value;
                           });
      const std::string text = html_escape(column.text(value));
      rows += "<td class=\"num\">" + (is_best ? "<b>" + text + "</b>" : text) + "</td>";
    }
    rows += "</tr>\n";
  }
  return "<section class=\"card\">\n<h2>Results</h2>\n<div "
         "class=\"scroll\"><table>\n<thead><tr><th>run</th><th>status"
         "</th>" +
         head + "</tr></thead>\n<tbody>\n" + rows +
         "</tbody></table></div>\n<p class=\"note\">Losses and accuracies of the last validation and the "
         "last epoch of "
         "training; bold: the best of a column.</p>\n</section>\n";
}

std::string settings_html(const std::vector<ComparedRun>& runs) {
  std::set<std::string> keys;
  for (const ComparedRun& run : runs) {
    for (const auto& [key, value] : run.settings) keys.insert(key);
  }
  std::string rows;
  for (const std::string& key : keys) {
    std::set<std::string> values;
    std::string cells;
    for (const ComparedRun& run : runs) {
      const auto found = run.settings.find(key);
      std::string value = found == run.settings.end() ? "–" : found->second;
      values.insert(value);
      if (value.size() > kLongSetting) value = value.substr(0, kLongSetting) + "…";
      cells += "<td class=\"text\">" + html_escape(value) + "</td>";
    }
    if (values.size() > 1 && key != "name")
      rows += "<tr><td>" + html_escape(key) + "</td>" + cells + "</tr>\n";
  }
  if (rows.empty())
    return "<section class=\"card\">\n<p class=\"note\">All settings are equal.</p>\n</section>\n";
  std::string head;
  for (size_t i = 0; i < runs.size(); ++i)
    head +=
        fmt::format("<th><span class=\"swatch {}\"></span> {}</th>", color_of(i), html_escape(runs[i].name));
  return "<section class=\"card long\">\n<h2>Settings that differ</h2>\n<div "
         "class=\"scroll\"><table>\n<thead><tr><th>key"
         "</th>" +
         head + "</tr></thead>\n<tbody>\n" + rows + "</tbody></table></div>\n</section>\n";
}

/// As the page of one run names what a line logs; a metric keeps its own name.
std::string title_of(const std::string& key) {
  static const std::map<std::string, std::string> kTitles = {
      {"samples_per_s", "throughput, samples/s"}, {"grad_norm", "gradient norm"}, {"lr", "learning rate"}};
  const auto found = kTitles.find(key);
  return found == kTitles.end() ? key : found->second;
}

std::string curves_html(const std::vector<ComparedRun>& runs) {
  std::set<std::string> keys;  // loss and accuracy come first
  for (const ComparedRun& run : runs) {
    for (const MetricsTable* table : {&run.data.train, &run.data.validation}) {
      for (const auto& [key, column] : table->columns) keys.insert(key);
    }
  }
  for (const char* none : {"epoch", "time_s", "data_wait_s", "communication_s"}) keys.erase(none);
  std::vector<std::string> ordered;
  for (const char* first : {"loss", "accuracy"}) {
    if (keys.erase(first) > 0) ordered.emplace_back(first);
  }
  ordered.insert(ordered.end(), keys.begin(), keys.end());

  std::string out;
  for (const std::string& key : ordered) {
    for (const auto& [title, table] :
         {std::pair{"Validation: ", &RunData::validation}, std::pair{"Training: ", &RunData::train}}) {
      Chart chart{
          .title = title + title_of(key), .percent = key == "accuracy", .allow_log = key != "accuracy"};
      if (chart.percent) chart.unit = "%";
      const bool is_validation = table == &RunData::validation;
      for (size_t i = 0; i < runs.size(); ++i) {
        chart.lines.push_back({.name = runs[i].name,
                               .color = static_cast<int>(i % kColors) + 1,
                               .dashed = i >= kColors,
                               .dots = is_validation,
                               .smooth_from = is_validation ? size_t{0} : size_t{60},
                               .only_smooth = true,
                               .series = (runs[i].data.*table).series(key)});
        chart.last_x = std::max(chart.last_x, runs[i].data.last_step());
      }
      out += chart_html(chart);
    }
  }
  return out.empty() ? out
                     : "<div class=\"charts\">\n" + out +
                           "</div>\n<p class=\"note\">Long training curves are moving "
                           "means.</p>\n";
}

}  // namespace

std::string comparison_page(const std::vector<std::string>& run_folders, const std::string& folder) {
  if (run_folders.size() > kMostCompared) {
    throw Error("report", fmt::format("{} runs are more than a page can tell apart", run_folders.size()),
                fmt::format("name up to {}", kMostCompared));
  }
  std::set<fs::path> seen;
  for (const std::string& run : run_folders) {
    if (!seen.insert(fs::weakly_canonical(run)).second)
      throw Error(run, "this run is named twice", "name each run once");
  }
  const std::vector<std::string> names = short_names(run_folders);
  std::vector<ComparedRun> runs;
  for (size_t i = 0; i < run_folders.size(); ++i) {
    ComparedRun run{names[i], {}, read_run(run_folders[i]), {}, {}};
    run.summary = summarize(run.data);
    run.settings = settings_of(run.data.job);
    const fs::path own = fs::path(run_folders[i]) / "report.html";
    if (fs::exists(own))
      run.link = fs::absolute(own).lexically_relative(fs::absolute(folder)).generic_string();
    runs.push_back(std::move(run));
  }
  return page_head("Runs compared – Lockstep report") +
         "<header><h1>Runs compared</h1><button type=\"button\" hidden>dark</button></header>\n" +
         with_links({{"results", "Results", results_html(runs)},
                     {"settings", "Settings", settings_html(runs)},
                     {"curves", "Curves", curves_html(runs)}}) +
         page_end("Made by Lockstep. Values as logged in each run's metrics.jsonl.");
}

void write_comparison(const std::vector<std::string>& run_folders, const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  write_text_file_atomically(path, comparison_page(run_folders, folder.empty() ? "." : folder));
}

}  // namespace lockstep
