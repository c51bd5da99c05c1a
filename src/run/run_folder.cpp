#include "src/run/run_folder.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

const std::string kJobHeader = "# written by lockstep train: the job as it runs, with --set applied\n";

/// job.yaml, or job.resolved.yaml where job.yaml is somebody's own.
std::string path_for_job(const std::string& folder, const std::string& job_file) {
  const std::string path = folder + "/job.yaml";
  std::error_code none;
  if (!fs::exists(path, none)) return path;
  std::string line;
  std::getline(std::ifstream(path), line);
  if (line + "\n" == kJobHeader) return path;
  // Earlier versions wrote no such line, but metrics beside it.
  const bool is_ours = fs::exists(folder + "/metrics.jsonl", none) && !fs::equivalent(path, job_file, none);
  return is_ours ? path : folder + "/job.resolved.yaml";
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file)
    throw Error(path, "cannot write: " + std::string(std::strerror(errno)),
                "free disk space or choose another --out");
}

}  // namespace

RunFolder::RunFolder(Communicator& comm, const std::string& path, const Options& options)
    : path_(path), job_file_(options.job_file), is_root_(comm.is_root()) {
  check_on_root(comm, [&] { check(options); });
  replaces_ = comm.all_reduce_max(replaces_) != 0;
}

RunFolder::~RunFolder() {
  std::error_code ignored;
  if (!lock_) return;
  events_.reset();
  metrics_.reset();
  try {
    if (has_begun_ && replaces_ && !leaves_ && list_checkpoints(checkpoints()).empty()) {
      ReplacedRun(path_).put_back();
      spdlog::warn("{}: nothing was saved; the run that was to be replaced is back", path_);
    }
  } catch (const std::exception& error) {
    spdlog::warn("the run that was to be replaced lies in {}/.replaced: {}", path_, error.what());
  }
  if (!has_begun_) fs::remove(communication_plan(), ignored);
  lock_.reset();
  if (has_begun_ || !is_new_) return;
  fs::remove(checkpoints(), ignored);  // where they are empty
  fs::remove(path_, ignored);
}

void RunFolder::check(const Options& options) {
  std::error_code error;
  is_new_ = fs::create_directories(path_, error);
  if (error)
    throw Error(path_, "cannot create the run folder: " + error.message(), "choose a writable --out");
  lock_ = std::make_unique<FolderLock>(path_, "train");

  const ReplacedRun replaced(path_);
  replaced.recover();
  const bool resumes_own = options.resume == "auto" ||
                           (!options.resume.empty() &&
                            fs::equivalent(fs::absolute(options.resume).parent_path(), checkpoints(), error));
  const bool is_run = is_run_folder(path_);
  const std::vector<std::string> files = files_of_run(path_);
  if (!is_run && !files.empty()) {
    throw Error(path_ + "/" + files.front(), "no run of lockstep has written it, and one would write over it",
                "choose another --out, or move it away");
  }
  const bool holds_run = !list_checkpoints(checkpoints()).empty() || replaced.is_aside();
  replaces_ = options.overwrite && !resumes_own && is_run;
  if (holds_run && !resumes_own && !replaces_) {
    throw Error(path_,
                options.resume.empty()
                    ? "this run folder already holds checkpoints"
                    : "this run folder already holds checkpoints, of another run than " + options.resume,
                "continue it with --resume auto, choose another --out, or start over with --overwrite");
  }
  if (replaces_ && replaced.is_aside()) replaced.put_back();  // of the run in between nothing was saved
  fs::create_directories(checkpoints(), error);
  if (error) throw Error(checkpoints(), "cannot create it: " + error.message(), "choose a writable --out");
}

/// The scalars of a job, by their paths: optimizer.sgd.lr. Lists are one text.
static void add_settings(const Config& job, const std::string& path, std::vector<HyperParameter>& settings) {
  constexpr size_t kLongSetting = 200;
  if (job.is_map()) {
    for (const std::string& key : job.keys())  // --set KEY= leaves a key without a value
      if (const std::optional<Config> value = job.find(key))
        add_settings(*value, (path.empty() ? "" : path + ".") + key, settings);
    return;
  }
  std::string text = job.dump();
  while (text.ends_with('\n')) text.pop_back();
  double number = 0;
  const char* const end = text.data() + text.size();
  if (text == "true" || text == "false") {
    settings.push_back({path, text == "true"});
  } else if (const auto [last, error] = std::from_chars(text.data(), end, number);
             error == std::errc() && last == end) {
    settings.push_back({path, number});
  } else if (!text.empty() && text.size() <= kLongSetting) {
    settings.push_back({path, text});
  }
}

void RunFolder::begin(const Job& job, int64_t resumed_step) {
  if (!is_root_) return;
  std::error_code error;
  if (replaces_) {
    const std::string measured = communication_plan();
    ReplacedRun(path_).move_aside();
    fs::create_directories(checkpoints(), error);
    fs::rename(measured, path_ + "/communication.json", error);
  }
  has_begun_ = true;
  mark_run_folder(path_);
  write_text(path_for_job(path_, job_file_), kJobHeader + job.text);
  metrics_ = std::make_unique<MetricsWriter>(path_ + "/metrics.jsonl", resumed_step);
  events_ = std::make_unique<EventFileWriter>(path_ + "/tb", resumed_step);
  if (!events_->is_new()) return;
  attempt([&] {
    events_->write_text("job", "```yaml\n" + job.text + "\n```");
    std::vector<HyperParameter> settings;
    add_settings(Config::from_text(job.text, "the job"), "", settings);
    std::vector<std::string> metrics{"train/loss", "validation/loss"};
    for (const auto& metric : job.metrics.all())
      for (const char* of : {"train/", "validation/"}) metrics.push_back(of + metric.name);
    events_->write_hyper_parameters(settings, metrics);
  });
}

void RunFolder::has_saved() {
  if (lock_ && has_begun_) ReplacedRun(path_).forget();
}

void RunFolder::check_held() const {
  if (lock_) lock_->check_held();
}

void RunFolder::keep_confusion_of(int64_t step) {
  if (!is_root_) return;
  const std::string path = path_ + "/confusion.json";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty() || text.find(fmt::format("\"step\": {},", step)) != std::string::npos) return;
  std::error_code ignored;
  fs::remove(path, ignored);
}

void RunFolder::attempt(const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& e) {
    if (!failed_) spdlog::warn("METRICS NOT WRITTEN, training goes on: {}", e.what());
    failed_ = true;
  }
}

void RunFolder::write(const JsonObject& line) {
  if (metrics_) attempt([&] { metrics_->write(line); });
}

void RunFolder::write_scalars(int64_t step, std::span<const EventScalar> scalars) {
  if (events_) attempt([&] { events_->write(step, scalars); });
}

void RunFolder::write_attention(const ValidationResult& validation, int64_t step) {
  if (!is_root_ || validation.attention.empty()) return;
  const auto quoted = [](const std::vector<std::string>& tokens) {
    std::vector<std::string> texts;
    for (const std::string& token : tokens) texts.push_back(json_quote(token));
    return fmt::format("[{}]", fmt::join(texts, ","));
  };
  std::vector<std::string> maps;
  for (const AttentionMap& map : validation.attention) {
    std::vector<std::string> rows;
    for (size_t r = 0; r < map.rows.size(); ++r) {
      const auto row = map.weights.begin() + static_cast<int64_t>(r * map.columns.size());
      rows.push_back(
          fmt::format("[{:.4g}]", fmt::join(row, row + static_cast<int64_t>(map.columns.size()), ",")));
    }
    maps.push_back(fmt::format("{{\"name\": {}, \"rows\": {}, \"columns\": {}, \"weights\": [{}]}}",
                               json_quote(map.name), quoted(map.rows), quoted(map.columns),
                               fmt::join(rows, ",")));
  }
  JsonObject object;
  object.set("kind", "attention").set("step", step);
  object.set_raw("maps", fmt::format("[{}]", fmt::join(maps, ",\n")));
  attempt([&] { write_text(path_ + "/attention.json", object.str() + "\n"); });
}

void RunFolder::write_confusion(const ValidationResult& validation,
                                const std::vector<std::string>& class_names, int64_t step) {
  const Confusion& confusion = validation.confusion;
  const int64_t k = confusion.n_classes();
  if (!is_root_ || k == 0) return;
  std::vector<std::string> names, rows;
  for (int64_t c = 0; c < k; ++c)
    names.push_back(
        json_quote(c < static_cast<int64_t>(class_names.size()) ? class_names[c] : std::to_string(c)));
  if (confusion.is_whole()) {
    const auto counts = confusion.matrix().begin();
    for (int64_t c = 0; c < k; ++c)
      rows.push_back(fmt::format("[{}]", fmt::join(counts + c * k, counts + (c + 1) * k, ",")));
  } else {
    for (const ConfusionCell& cell : confusion.cells())
      rows.push_back(fmt::format("[{},{},{}]", cell.truth, cell.predicted, cell.count));
  }
  JsonObject object;
  object.set("kind", "confusion").set("step", step);
  object.set_raw("classes", fmt::format("[{}]", fmt::join(names, ",")));
  object.set_raw(confusion.is_whole() ? "matrix" : "cells", fmt::format("[{}]", fmt::join(rows, ",\n")));
  attempt([&] { write_text(path_ + "/confusion.json", object.str() + "\n"); });
}

void RunFolder::warn(int64_t step, const std::string& text) {
  if (!is_root_) return;
  spdlog::warn("{}", text);
  write(JsonObject().set("kind", "warning").set("step", step).set("text", text));
}

}  // namespace lockstep
