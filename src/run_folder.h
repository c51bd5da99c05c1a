// The run folder: job.yaml, metrics.jsonl, confusion.json, tb/, checkpoints/. Files are written by
// rank 0 only; checkpoints by all ranks.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/event_file.h"
#include "io/metrics.h"
#include "src/job.h"
#include "src/validation.h"

namespace lockstep {

class RunFolder {
 public:
  /// Collective. Creates the folder. Throws AgreedError when it holds another run's
  /// checkpoints and the run is neither resumed nor to be overwritten.
  RunFolder(Communicator& comm, const std::string& path, bool resumes, bool overwrite);

  /// Rank 0 starts (resumed_step < 0) or continues its metrics file; others do nothing.
  void open_metrics(const Job& job, int64_t resumed_step);
  /// One line of metrics. A full disk costs the line and one warning, not the run.
  void write(const JsonObject& line);  // rank 0; others ignore it
  /// Scalars of a step for TensorBoard (tb/).
  void write_scalars(int64_t step, std::span<const EventScalar> scalars);
  void write_confusion(const ValidationResult& validation, const std::vector<std::string>& class_names,
                       int64_t step);
  /// A warning to the log and the metrics file.
  void warn(int64_t step, const std::string& text);

  const std::string& path() const { return path_; }
  std::string communication_plan() const { return path_ + "/communication.json"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }

 private:
  std::string path_;
  bool is_root_;
  /// Runs `write`; its first failure is a warning, later ones are silent.
  void attempt(const std::function<void()>& write);

  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<EventFileWriter> events_;
  bool failed_ = false;
};

}  // namespace lockstep
