// Trials: runs of one job that differ in some settings (folds of a cross-validation, cells of a sweep), each
// in a folder of its own; what became of them is read from their files alone, so that a table is the same
// whoever trained them and when.
#pragma once

#include <string>
#include <vector>

#include "src/metrics/metric.h"
#include "src/report/run_data.h"

namespace lockstep {

struct Trial {
  std::string name;                      // of its folder
  std::vector<std::string> assignments;  // what is its own, as for --set
};

struct TrialOutcome {
  /// kFailed: training has ended without a result, such as a loss that was not finite.
  enum class Status { kMissing, kUnfinished, kFinished, kFailed } status = Status::kMissing;
  std::string words;  // "finished", "early_stopped", "not_finite" …; "": not begun
  RunData data;       // of what there is
  double best_step = kNaN;
  double best = kNaN;  // of the measure, over all validations
  bool is_done() const { return status == Status::kFinished || status == Status::kFailed; }

  /// Of the last validation, and of the one at best_step; NaN where there is none.
  double last_of(const std::string& metric) const;
  double best_of(const std::string& metric) const;
};

/// What a run folder says of a trial whose job is `job_text`. Throws Error where the folder holds a run with
/// other settings.
TrialOutcome read_trial(const std::string& folder, const std::string& job_text, const Measure& measure);

/// "loss" and the metrics of a job, as its validation lines name them.
std::vector<std::string> validated_names(const MetricList& metrics);

/// Mean and standard deviation (of a sample: n - 1) of the finite ones; deviation NaN for fewer than two.
struct Spread {
  double mean = kNaN, deviation = kNaN;
  int64_t n = 0;
};
Spread spread_of(const std::vector<double>& values);

/// A cell of a CSV table: quoted where it has to be; a number that is not finite is empty.
std::string csv_cell(const std::string& text);
std::string csv_cell(double value);

/// Folds: "fold,status,steps,loss,…,best_step,best_loss,…", a row each; then the rows mean and deviation.
std::string folds_csv(const std::vector<Trial>& folds, const std::vector<TrialOutcome>& outcomes,
                      const std::vector<std::string>& metrics);
/// A self-contained page: mean and deviation, the folds, the curves of all folds over each other.
std::string folds_page(const std::string& name, const std::vector<Trial>& folds,
                       const std::vector<TrialOutcome>& outcomes, const MetricList& metrics);

/// Cells of a sweep in the order of their measure, the best first, those without one last, else as numbered.
std::vector<size_t> ranked(const std::vector<TrialOutcome>& outcomes, const Measure& measure);
/// "rank,cell,KEY…,status,steps,best_step,MEASURE,loss,…" in that order; metrics are those at the best step.
std::string sweep_csv(const std::vector<Trial>& cells, const std::vector<TrialOutcome>& outcomes,
                      const std::vector<std::string>& metrics, const Measure& measure);
/// A self-contained page: the table, parallel coordinates, and the best cells' curves.
std::string sweep_page(const std::string& name, const std::vector<Trial>& cells,
                       const std::vector<TrialOutcome>& outcomes, const MetricList& metrics,
                       const Measure& measure);

}  // namespace lockstep
