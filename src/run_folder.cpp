#include "src/run_folder.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "comm/agreement.h"
#include "io/checkpoint.h"

namespace lockstep {

namespace {

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file)
    throw Error(path, "cannot write: " + std::string(std::strerror(errno)),
                "free disk space or choose another --out");
}

}  // namespace

RunFolder::RunFolder(Communicator& comm, const std::string& path, bool resumes, bool overwrite)
    : path_(path), is_root_(comm.is_root()) {
  check_on_root(comm, [&] {
    std::error_code error;
    if (overwrite && !resumes) {
      for (const char* old :
           {"checkpoints", "communication.json", "metrics.jsonl", "confusion.json", "report.html", "tb"}) {
        std::filesystem::remove_all(path_ + "/" + old, error);
      }
    }
    std::filesystem::create_directories(checkpoints(), error);
    if (error) {
      throw Error(path_, "cannot create the run folder: " + error.message(), "choose a writable --out");
    }
    if (!resumes && !list_checkpoints(checkpoints()).empty()) {
      throw Error(path_, "this run folder already holds checkpoints",
                  "continue it with --resume auto, choose another --out, or start over with --overwrite");
    }
  });
}

void RunFolder::open_metrics(const Job& job, int64_t resumed_step) {
  if (!is_root_) return;
  write_text(path_ + "/job.yaml", job.text);
  metrics_ = std::make_unique<MetricsWriter>(path_ + "/metrics.jsonl", resumed_step);
  events_ = std::make_unique<EventFileWriter>(path_ + "/tb", resumed_step);
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

void RunFolder::write_confusion(const ValidationResult& validation,
                                const std::vector<std::string>& class_names, int64_t step) {
  if (!is_root_ || validation.n_classes == 0) return;
  const int64_t k = validation.n_classes;
  std::vector<std::string> names, rows;
  for (int64_t c = 0; c < k; ++c) {
    names.push_back(
        json_quote(c < static_cast<int64_t>(class_names.size()) ? class_names[c] : std::to_string(c)));
    rows.push_back(fmt::format("[{}]", fmt::join(validation.confusion.begin() + c * k,
                                                 validation.confusion.begin() + (c + 1) * k, ",")));
  }
  JsonObject object;
  object.set("kind", "confusion").set("step", step);
  object.set_raw("classes", fmt::format("[{}]", fmt::join(names, ",")));
  object.set_raw("matrix", fmt::format("[{}]", fmt::join(rows, ",\n")));
  attempt([&] { write_text(path_ + "/confusion.json", object.str() + "\n"); });
}

void RunFolder::warn(int64_t step, const std::string& text) {
  if (!is_root_) return;
  spdlog::warn("{}", text);
  write(JsonObject().set("kind", "warning").set("step", step).set("text", text));
}

}  // namespace lockstep
