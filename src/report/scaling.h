// A scaling study: the steps of one job on several numbers of ranks, each measured several times in turn, as
// a table, as CSV and as a page.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// One measurement, as `bench step --json` gives it; times are those of a step.
struct ScalingSample {
  double step_ms = 0, samples_per_s = 0, communication_ms = 0, data_wait_ms = 0;
  double joules = 0;  // of all hosts; 0: not known
};

struct ScalingRow {
  int ranks = 1;
  int64_t global_batch = 0, micro_batch = 0;
  std::vector<ScalingSample> samples;  // in the order of the rounds
};

/// A mean over rounds with half its 95 % confidence interval (Student's t); 0 where one round was measured.
struct Estimate {
  double value = 0, half_width = 0;
};
Estimate estimate(const std::vector<double>& values);

/// What a row comes to beside the first row, whose ranks count as efficient. Round by round, so that what
/// disturbs a machine for a while disturbs both.
struct ScalingResult {
  double step_ms = 0, samples_per_s = 0;  // medians
  Estimate speed_up, efficiency;
  double exposed_communication = 0, input_stall = 0;  // shares of a step, medians
  double joules_per_sample = 0;                       // 0: not known
};

struct ScalingStudy {
  std::string job, name;  // the file, and what it calls itself
  std::string mode;       // "weak" or "strong"
  std::vector<ScalingRow> rows;

  ScalingResult result(size_t row) const;
};

std::string scaling_csv(const ScalingStudy& study);
/// A self-contained document without a date or a path.
std::string scaling_page(const ScalingStudy& study);

}  // namespace lockstep
