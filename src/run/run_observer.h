// Who looks on while a network is trained: the files of a run and the line on the screen are such observers,
// and a program may add its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/metrics/metric.h"
#include "src/run/validation.h"

namespace lockstep {

/// The steps since the last report: means over their samples, equal on all ranks but for times and rates.
struct IntervalReport {
  int64_t step = 0;  // updates done
  double epoch = 0;
  double loss = 0;
  std::vector<double> metrics;  // of the job, in its order
  double lr = 0, gradient_norm = 0;
  std::optional<double> loss_scale;  // float16
  double samples_per_s = 0;
  double elapsed_s = 0;                         // since the run was begun or resumed
  double data_wait_s = 0, communication_s = 0;  // of this rank, in the interval
};

struct ValidationReport {
  int64_t step = 0;
  double epoch = 0;
  const ValidationResult& result;
  bool improved = false;  // it is the best by checkpoint.best
};

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// Each is called on all ranks, by the thread that trains.
  virtual void interval(const IntervalReport& /*report*/) {}
  virtual void validation(const ValidationReport& /*report*/) {}
  /// A sentence for people, which needs no answer.
  virtual void note(const std::string& /*text*/) {}
};

}  // namespace lockstep
