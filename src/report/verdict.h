// How well the run generalises: final and best values, and the gap between training and
// validation in words. The thresholds are rules of thumb, named in docs/report.md.
#pragma once

#include <string>
#include <vector>

#include "src/report/run_data.h"

namespace lockstep {

/// All values NaN where the run does not tell them.
struct RunSummary {
  double train_loss, train_accuracy;            // mean over the lines of the last epoch
  double validation_loss, validation_accuracy;  // last validation
  double best_accuracy, best_accuracy_step;     // validation
  double best_loss, best_loss_step;             // validation
  double samples_per_s;                         // median over the training lines
  int64_t lost_losses = 0;                      // training lines whose loss is null
  double first_lost_step;
};
RunSummary summarize(const RunData& run);

struct Verdict {
  std::string headline;                // "Overfitting", "No overfitting", …; a few words
  std::vector<std::string> sentences;  // the numbers behind it, and what else is notable
  bool warns = false;                  // something the user should look at
};
Verdict judge(const RunData& run, const RunSummary& summary);

}  // namespace lockstep
