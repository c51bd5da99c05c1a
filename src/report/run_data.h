// What the files of a run folder say, sorted into columns and events.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/files/metrics.h"
#include "src/report/chart/series.h"

namespace lockstep {

/// The lines of one kind: their steps, and each numeric key as a column (NaN where a line
/// lacks it or holds null).
struct MetricsTable {
  std::vector<double> step;
  std::map<std::string, std::vector<double>> columns;

  bool has(const std::string& key) const;       // with at least one finite value
  Series series(const std::string& key) const;  // empty when absent
  double last(const std::string& key) const;    // last finite value, else NaN
  /// Mean over the finite values at rows >= first_row; NaN without any.
  double mean(const std::string& key, size_t first_row) const;
};

struct RunEvent {
  std::string kind;   // checkpoint, warning, resume
  double step = 0;    // NaN when the line names none
  double time_s = 0;  // NaN likewise
  std::string text;
};

struct RunData {
  std::string name;        // of the start line, else the folder's
  MetricsLine start, end;  // the last of each; empty when absent
  bool has_end = false;
  MetricsTable train, validation;
  std::vector<RunEvent> events;  // in file order
  std::string job;               // text of job.yaml, may be empty

  double number(const std::string& key) const;     // of the start line; NaN when absent
  std::string text(const std::string& key) const;  // of the start line; empty when absent
  double last_step() const;                        // of any line, 0 without
  double steps_per_epoch() const;                  // 0 when it cannot be told
  double wall_time_s() const;                      // over all resumes; NaN when unknown
  /// Seconds of a per-interval column (data_wait_s) summed over the run.
  double total_s(const std::string& key) const;

  std::vector<double> segment_ends_s;  // last time_s before each resume, and of the run

  /// At each validation, validation minus the mean of the training lines since the validation before.
  Series gap(const std::string& key) const;
  /// A per-interval column (data_wait_s) as a share of the time since the training line before; a gap at
  /// the first line and where a run was resumed.
  Series share_of_time(const std::string& key) const;
};

/// Reads metrics.jsonl and job.yaml. Lines whose step is not after an earlier line of their
/// kind replace it and those after it (a run that was started again in the same folder).
/// Throws Error when metrics.jsonl is missing, has no line, or is broken.
RunData read_run(const std::string& run_folder);

}  // namespace lockstep
