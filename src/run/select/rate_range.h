// The learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks", section
// 3.3): a few hundred steps whose rate grows by the same factor each, and the loss against the rate.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "src/run/job.h"

namespace lockstep {

struct RateRangeOptions {
  double from = 1e-6, to = 10;  // rates of the first step and of the last, 0 < from < to
  int64_t steps = 200;          // 10 or more
  double stops_above = 4;       // times the lowest running mean of the loss: the test has seen enough
  bool prints = true;           // rank 0 tells of progress on standard output
};

/// What happened: one value per step that was made, equal on any number of ranks.
struct RateRange {
  RateRangeOptions options;
  std::vector<double> rates;     // of the update that followed
  std::vector<double> losses;    // training loss of the step's samples, before that update
  std::vector<double> smoothed;  // centred mean over the neighbouring twentieth of the steps
  std::string end;               // why there were fewer steps than asked; "": there were not

  /// The rate at which the smoothed loss falls fastest over log(rate), before its minimum; NaN: it never
  /// falls.
  double steepest = 0;
  /// The rate at the minimum of the smoothed loss, and a tenth of it, which leaves room for training's noise.
  double minimum = 0;
  double tenth() const { return minimum / 10; }
  /// The minimum is at the last rate that was tried, and nothing went wrong there.
  bool falls_to_the_end() const { return end.empty() && !rates.empty() && minimum == rates.back(); }
};

/// Collective. Trains a fresh network of the job, with its optimizer, batches and augmentation, and throws it
/// away: writes no file. The job's schedule and length are not used. Throws AgreedError as Run does, and
/// where the options make no range or the job's rate is 0.
RateRange find_rate_range(const Job& job, Communicator& comm, const RateRangeOptions& options);

/// `smoothed`, `steepest` and `minimum` of rates and losses.
void judge_rate_range(RateRange& range);

/// A self-contained HTML page, and a table of rows "step,rate,loss,smoothed".
std::string rate_range_page(const RateRange& range, const std::string& name);
std::string rate_range_csv(const RateRange& range);

}  // namespace lockstep
