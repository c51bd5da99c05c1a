// lockstep top RUN…: how runs are doing, from their files; on a terminal again and again until they end.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <thread>

#include "jobs/command.h"
#include "kernels/printable.h"
#include "src/report/html.h"
#include "src/report/run_data.h"
#include "src/report/verdict.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

constexpr size_t kSparks = 48;          // letters of a curve
constexpr double kSilentSeconds = 120;  // and ten times the usual time between lines: then a run looks dead
constexpr double kSilentIntervals = 10;
constexpr size_t kMostEventsShown = 3;

/// A series as a row of small bars, from its smallest value to its largest; on a logarithmic scale where it
/// spans a hundredfold.
std::string sparks(const Series& series) {
  static const char* const kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::vector<double> values;
  for (const double y : bin_means(series, kSparks).y)
    if (std::isfinite(y)) values.push_back(y);
  if (values.empty()) return "";
  auto [low, high] = std::minmax_element(values.begin(), values.end());
  const bool is_log = *low > 0 && *high > 100 * *low;
  const auto scaled = [&](double v) { return is_log ? std::log(v) : v; };
  const double from = scaled(*low), to = scaled(*high);
  std::string bars;
  for (const double v : values)
    bars += kBars[to > from ? std::min(7, static_cast<int>((scaled(v) - from) / (to - from) * 8)) : 0];
  return bars;
}

double seconds_since_written(const std::string& run) {
  std::error_code status;
  const auto written = std::filesystem::last_write_time(std::filesystem::path(run) / "metrics.jsonl", status);
  if (status) return kNaN;
  return std::chrono::duration<double>(std::filesystem::file_time_type::clock::now() - written).count();
}

/// Median seconds between the training lines.
double usual_interval_s(const RunData& run) {
  const Series time = run.train.series("time_s");
  std::vector<double> intervals;
  for (size_t i = 1; i < time.y.size(); ++i)
    if (time.y[i] > time.y[i - 1]) intervals.push_back(time.y[i] - time.y[i - 1]);
  return quantile_of(std::move(intervals), 0.5);
}

std::string status_line(const std::string& folder, const RunData& run) {
  if (run.has_end) {
    const std::string* const status = run.end.text("status");
    return status ? *status : "ended";
  }
  const double silent = seconds_since_written(folder), usual = usual_interval_s(run);
  const double most = std::max(kSilentSeconds, std::isfinite(usual) ? kSilentIntervals * usual : 0);
  if (silent > most) return fmt::format("silent for {}: lost, or stopped", format_duration(silent));
  return "running";
}

std::string time_left(const RunData& run) {
  const double steps = run.number("steps"), now = run.last_step();
  const Series time = run.train.series("time_s");
  if (run.has_end || !(steps > now) || time.y.size() < 2) return "";
  const size_t from = time.y.size() > 20 ? time.y.size() - 20 : 0;
  const double passed = time.y.back() - time.y[from], made = time.x.back() - time.x[from];
  return passed > 0 && made > 0 ? format_duration(passed / made * (steps - now)) + " left" : "";
}

void curve_line(std::string& out, const char* name, const Series& series, bool percent) {
  if (series.empty()) return;
  double last = kNaN;
  for (const double y : series.y)
    if (std::isfinite(y)) last = y;
  out += fmt::format("  {:<20} {:>10}  {}\n", name, percent ? format_percent(last) : format_value(last),
                     sparks(series));
}

std::string describe(const std::string& folder) {
  const RunData run = read_run(folder);
  const double steps = run.number("steps"), per_epoch = run.steps_per_epoch(), now = run.last_step();
  std::string out = fmt::format("{}: {}, step {}{}", printable(run.name), status_line(folder, run),
                                format_count(now), std::isfinite(steps) ? " of " + format_count(steps) : "");
  if (per_epoch > 0) out += fmt::format(", epoch {:.2f}", now / per_epoch);
  if (const double ranks = run.number("ranks"); std::isfinite(ranks))
    out += fmt::format(", {} rank{}", format_count(ranks), ranks == 1 ? "" : "s");
  if (const std::string left = time_left(run); !left.empty()) out += ", " + left;
  out += "\n";
  curve_line(out, "training loss", run.train.series("loss"), false);
  curve_line(out, "validation loss", run.validation.series("loss"), false);
  curve_line(out, "training accuracy", run.train.series("accuracy"), true);
  curve_line(out, "validation accuracy", run.validation.series("accuracy"), true);
  curve_line(out, "learning rate", run.train.series("lr"), false);
  curve_line(out, "gradient norm", run.train.series("grad_norm"), false);
  curve_line(out, "samples/s", run.train.series("samples_per_s"), false);
  curve_line(out, "waits for data", run.share_of_time("data_wait_s"), true);
  curve_line(out, "waits for ranks", run.share_of_time("communication_s"), true);
  const size_t first = run.events.size() > kMostEventsShown ? run.events.size() - kMostEventsShown : 0;
  for (size_t i = first; i < run.events.size(); ++i) {
    const RunEvent& event = run.events[i];
    out += fmt::format("  {} at step {}: {}\n", event.kind, format_count(event.step), printable(event.text));
  }
  return out;
}

}  // namespace

static int top_command(const Words& words) {
  CommandLine line(
      "top RUN_DIR… [--once] [--every SECONDS]",
      "How runs are doing, from their metrics.jsonl: progress, curves, waiting, the last events. On a "
      "terminal again\nand again until all have ended; else, or with --once, once. From any host that sees "
      "the folder.",
      {"RUN_DIR…"});
  line.add()("once", "print it once")("every", po::value<double>()->default_value(2),
                                      "seconds between looks");
  if (!line.parse(words)) return 0;
  const double every_s = line.get<double>("every");
  if (!(every_s >= 0.1 && every_s <= 86400))
    throw UsageError("--every is from 0.1 to 86400 seconds", "write for instance --every 5");
  const bool is_live = isatty(STDOUT_FILENO) == 1 && !line.has("once");
  while (true) {
    std::string out;
    bool all_ended = true;
    for (const std::string& run : line.texts("RUN_DIR…")) {
      out += describe(run) + "\n";
      all_ended = all_ended && read_run(run).has_end;
    }
    if (is_live) std::cout << "\033[H\033[2J";
    std::cout << out << std::flush;
    if (!is_live || all_ended) return 0;
    std::this_thread::sleep_for(std::chrono::duration<double>(every_s));
  }
}

namespace {
const bool top_registered =
    commands().add("top", {.summary = "how runs are doing, live in the terminal", .run = top_command}, 10);
}

}  // namespace lockstep
