// The observer that every run has: metrics.jsonl, TensorBoard's events and the line on the screen.
#pragma once

#include "src/job/job.h"
#include "src/run/progress.h"
#include "src/run/run_folder.h"
#include "src/run/run_observer.h"

namespace lockstep {

class RunLog : public RunObserver {
 public:
  /// All must outlive it.
  RunLog(const Job& job, RunFolder& folder, Progress& progress)
      : job_(job), folder_(folder), progress_(progress) {}

  void interval(const IntervalReport& report) override;
  void validation(const ValidationReport& report) override;
  void note(const std::string& text) override { progress_.note(text); }

 private:
  void set_metrics(JsonObject& line, const std::vector<double>& values) const;
  void add_metrics(std::vector<EventScalar>& scalars, const char* of,
                   const std::vector<double>& values) const;
  /// "  accuracy 97.13 %  top_5 99.80 %"
  std::string text_of(const std::vector<double>& values) const;

  const Job& job_;
  RunFolder& folder_;
  Progress& progress_;
};

}  // namespace lockstep
