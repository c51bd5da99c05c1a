// Reads a run folder into RunData.
#include "src/report/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "io/files/regular_file.h"
#include "kernels/error.h"
#include "src/report/html.h"

namespace lockstep {
namespace {

double number_or_nan(const MetricsLine& line, std::string_view key) {
  const double* value = line.number(key);
  return value != nullptr ? *value : kNaN;
}

std::string text_or_empty(const MetricsLine& line, std::string_view key) {
  const std::string* value = line.text(key);
  return value != nullptr ? *value : std::string();
}

void drop_last_row(MetricsTable& table) {
  table.step.pop_back();
  for (auto& [key, column] : table.columns) column.resize(table.step.size());
}

void add_row(MetricsTable& table, const MetricsLine& line) {
  const double step = number_or_nan(line, "step");
  if (!std::isfinite(step)) return;
  while (!table.step.empty() && table.step.back() >= step) drop_last_row(table);
  table.step.push_back(step);
  for (const auto& [key, value] : line.items) {
    if (key == "step" || key == "kind" || !std::holds_alternative<double>(value)) continue;
    table.columns[key].resize(table.step.size(), kNaN);
    table.columns[key].back() = std::get<double>(value);
  }
  for (auto& [key, column] : table.columns) column.resize(table.step.size(), kNaN);
}

RunEvent event_of(const std::string& kind, const MetricsLine& line) {
  RunEvent event{kind, number_or_nan(line, "step"), number_or_nan(line, "time_s"),
                 text_or_empty(line, "text")};
  const std::string file = std::filesystem::path(text_or_empty(line, "file")).filename().string();
  if (kind == "checkpoint") {
    event.text = file;
    // A checkpoint's time_s is how long writing it took.
    if (const double* n_bytes = line.number("bytes"))
      event.text += fmt::format(", {}", format_bytes(*n_bytes));
    if (std::isfinite(event.time_s))
      event.text += fmt::format(", written in {}", format_duration(event.time_s));
    event.time_s = kNaN;
  } else if (kind == "resume") {
    event.text = "from " + (file.empty() ? "a checkpoint" : file);
    if (const double* ranks = line.number("ranks")) event.text += fmt::format(" on {:.0f} ranks", *ranks);
  }
  return event;
}

/// Checkpoints that were deleted since (checkpoint.keep) become one line: the list shows those that are
/// there. Without a folder of checkpoints all stay, since the report may be made of a copy.
void fold_absent_checkpoints(const std::filesystem::path& folder, std::vector<RunEvent>& events) {
  if (std::error_code status; !std::filesystem::is_directory(folder, status)) return;
  size_t n_absent = 0;
  double last = kNaN;
  std::erase_if(events, [&](const RunEvent& event) {
    std::error_code status;
    const std::string name = event.text.substr(0, event.text.find(','));
    if (event.kind != "checkpoint" || name.empty() || std::filesystem::exists(folder / name, status))
      return false;
    ++n_absent;
    last = event.step;
    return true;
  });
  if (n_absent == 0) return;
  const auto after =
      std::find_if(events.begin(), events.end(), [&](const RunEvent& e) { return e.step > last; });
  events.insert(after, {"checkpoint", last, kNaN,
                        fmt::format("{} written up to here {} no longer there", n_absent,
                                    n_absent == 1 ? "is" : "are")});
}

}  // namespace

bool MetricsTable::has(const std::string& key) const { return !series(key).empty(); }

Series MetricsTable::series(const std::string& key) const {
  const auto found = columns.find(key);
  return found == columns.end() ? Series{} : Series{step, found->second};
}

double MetricsTable::last(const std::string& key) const {
  const Series values = series(key);
  for (size_t i = values.y.size(); i-- > 0;) {
    if (std::isfinite(values.y[i])) return values.y[i];
  }
  return kNaN;
}

double MetricsTable::mean(const std::string& key, size_t first_row) const {
  const Series values = series(key);
  double sum = 0;
  int64_t n = 0;
  for (size_t i = first_row; i < values.y.size(); ++i) {
    if (!std::isfinite(values.y[i])) continue;
    sum += values.y[i];
    ++n;
  }
  return n > 0 ? sum / static_cast<double>(n) : kNaN;
}

double RunData::number(const std::string& key) const { return number_or_nan(start, key); }
std::string RunData::text(const std::string& key) const { return text_or_empty(start, key); }

double RunData::last_step() const {
  double step = 0;
  for (const MetricsTable* table : {&train, &validation}) {
    if (!table->step.empty()) step = std::max(step, table->step.back());
  }
  if (const double* value = end.number("step")) step = std::max(step, *value);
  return step;
}

double RunData::steps_per_epoch() const {
  for (const MetricsTable* table : {&train, &validation}) {
    const Series epoch = table->series("epoch");
    if (!epoch.empty() && epoch.y.back() > 0) return epoch.x.back() / epoch.y.back();
  }
  return 0;
}

double RunData::wall_time_s() const {
  double sum = 0;
  for (const double s : segment_ends_s) sum += s;
  return segment_ends_s.empty() ? kNaN : sum;
}

double RunData::total_s(const std::string& key) const {
  const Series values = train.series(key);
  double sum = 0;
  for (const double v : values.y) sum += std::isfinite(v) ? v : 0;
  return values.empty() ? kNaN : sum;
}

Series RunData::gap(const std::string& key) const {
  const Series trained = train.series(key), validated = validation.series(key);
  Series gap;
  size_t row = 0;
  for (size_t i = 0; i < validated.x.size(); ++i) {
    double sum = 0;
    int64_t n = 0;
    for (; row < trained.x.size() && trained.x[row] <= validated.x[i]; ++row) {
      if (!std::isfinite(trained.y[row])) continue;
      sum += trained.y[row];
      ++n;
    }
    gap.x.push_back(validated.x[i]);
    gap.y.push_back(n > 0 ? validated.y[i] - sum / static_cast<double>(n) : kNaN);
  }
  return gap;
}

Series RunData::share_of_time(const std::string& key) const {
  Series share = train.series(key);
  const Series now = train.series("time_s");
  if (now.empty()) return {};
  for (size_t i = share.y.size(); i-- > 0;) {
    const double passed = i > 0 ? now.y[i] - now.y[i - 1] : kNaN;
    share.y[i] = passed > 0 ? std::min(1.0, share.y[i] / passed) : kNaN;
  }
  return share;
}

RunData read_run(const std::string& run_folder) {
  const std::filesystem::path folder(run_folder), metrics = folder / "metrics.jsonl";
  if (!std::filesystem::exists(metrics)) {
    throw Error(metrics.string(), "there is no such file, so there is nothing to report",
                "name the folder of a run (train's --out, or runs/NAME)");
  }
  const std::vector<MetricsLine> lines = read_metrics(metrics.string());
  if (lines.empty()) {
    throw Error(metrics.string(), "the file holds no complete line",
                "wait until the run has written its first metrics, or train again");
  }

  RunData run;
  run.name = std::filesystem::absolute(folder / "").parent_path().filename().string();
  double time_s = kNaN;
  for (const MetricsLine& line : lines) {
    const std::string kind = text_or_empty(line, "kind");
    if (kind == "checkpoint" || kind == "warning" || kind == "resume")
      run.events.push_back(event_of(kind, line));
    if (kind == "train") add_row(run.train, line);
    if (kind == "validation") add_row(run.validation, line);
    if (kind == "start") {
      run.start = line;
      run.end = {};  // of an earlier part of the run
      run.has_end = false;
      if (const std::string name = text_or_empty(line, "name"); !name.empty()) run.name = name;
    }
    if (kind == "end") {
      run.end = line;
      run.has_end = true;
    }
    const double* now = kind == "train" || kind == "end" ? line.number("time_s") : nullptr;
    if (now == nullptr || !std::isfinite(*now)) continue;
    if (std::isfinite(time_s) && *now < time_s) run.segment_ends_s.push_back(time_s);
    time_s = *now;
  }
  if (std::isfinite(time_s)) run.segment_ends_s.push_back(time_s);

  fold_absent_checkpoints(folder / "checkpoints", run.events);
  const std::string job = (folder / "job.yaml").string();
  if (std::filesystem::exists(job)) run.job = read_text_file(job);
  return run;
}

}  // namespace lockstep
