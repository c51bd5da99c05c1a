// The run folder: job.yaml, metrics.jsonl, confusion.json, checkpoints/. Files are written by
// rank 0 only; checkpoints by all ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
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
  void write(const JsonObject& line);              // rank 0; others ignore it
  void write_confusion(const ValidationResult& validation, const std::vector<std::string>& class_names, int64_t step);
  /// A warning to the log and the metrics file.
  void warn(int64_t step, const std::string& text);

  /// Rank 0: checkpoints/last.h5 and best.h5 point at the files of these steps (best < 0: none).
  void link_checkpoints(int64_t last_step, int64_t best_step);

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }

 private:
  std::string path_;
  bool is_root_;
  std::unique_ptr<MetricsWriter> metrics_;
};

}  // namespace lockstep
