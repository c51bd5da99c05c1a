// The run folder: job.yaml, metrics.jsonl, confusion.json, tb/, checkpoints/. Files are written by
// rank 0 only; checkpoints by all ranks.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/files/event_file.h"
#include "io/files/folder_lock.h"
#include "io/files/metrics.h"
#include "src/run/job.h"
#include "src/run/replaced_run.h"
#include "src/run/validation.h"

namespace lockstep {

class RunFolder {
 public:
  struct Options {
    std::string resume;      // "", "auto" or a checkpoint file
    bool overwrite = false;  // the run that the folder holds may be replaced
    std::string job_file;    // which is never written to
  };

  /// Collective. Creates the folder and locks it for this process (io/files/folder_lock.h); else changes
  /// nothing yet. Throws AgreedError when another process writes to it, when it holds another run's
  /// checkpoints and the run is neither resumed nor to be overwritten, and when names that a run needs are
  /// taken by files that no run has written.
  RunFolder(Communicator& comm, const std::string& path, const Options& options);
  /// Puts back the run that was to be replaced, where the new one has saved nothing.
  ~RunFolder();

  /// Rank 0, when all of the job has been checked: moves the run aside that is to be replaced, then starts
  /// (resumed_step < 0) or continues the metrics file, without lines of later steps; others do nothing.
  void begin(const Job& job, int64_t resumed_step);
  /// For when other ranks may save the state still: a replaced run is not put back by this process.
  void leave_as_it_is() { leaves_ = true; }
  /// Rank 0: a checkpoint is on the disk, so that a replaced run may go.
  void has_saved();
  /// Rank 0: throws Error where another process has taken the folder.
  void check_held() const;
  /// Rank 0: removes the confusion matrix of a step that the run has not come to, or that is not its best.
  void keep_confusion_of(int64_t step);
  /// One line of metrics. A full disk costs the line and one warning, not the run.
  void write(const JsonObject& line);  // rank 0; others ignore it
  /// Scalars of a step for TensorBoard (tb/).
  void write_scalars(int64_t step, std::span<const EventScalar> scalars);
  /// attention.json, where there are maps.
  void write_attention(const ValidationResult& validation, int64_t step);
  void write_confusion(const ValidationResult& validation, const std::vector<std::string>& class_names,
                       int64_t step);
  /// A warning to the log and the metrics file.
  void warn(int64_t step, const std::string& text);

  const std::string& path() const { return path_; }
  std::string communication_plan() const {
    return path_ + (replaces_ ? "/.communication.json.tmp" : "/communication.json");
  }
  std::string checkpoints() const { return path_ + "/checkpoints"; }

 private:
  void check(const Options& options);

  std::string path_, job_file_;
  bool is_root_;
  bool is_new_ = false;    // this process has created the folder
  bool replaces_ = false;  // the run in it, equal on all ranks
  bool has_begun_ = false, leaves_ = false;
  std::unique_ptr<FolderLock> lock_;  // rank 0
  /// Runs `write`; its first failure is a warning, later ones are silent.
  void attempt(const std::function<void()>& write);

  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<EventFileWriter> events_;
  bool failed_ = false;
};

}  // namespace lockstep
