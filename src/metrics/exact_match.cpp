// The share of sequences whose tokens are all right. Each step sees the true tokens before it, but where all
// of them are right, that is what the network would have written by itself, greedily: the same share.
#include "src/metrics/class_scores.h"
#include "src/metrics/metric.h"

namespace lockstep {

namespace {

class ExactMatch : public Metric {
 public:
  explicit ExactMatch(std::shared_ptr<const LossRule> loss) : loss_(std::move(loss)) {}

  Mean judge(const Judged& m) const override {
    const ClassScores scores(*loss_, m.sample);
    const auto* targets = static_cast<const int64_t*>(m.target);
    Mean mean;
    for (int64_t n = 0; n < m.n_valid; ++n) {
      bool is_right = true;
      for (int64_t i = n * scores.places(); is_right && i < (n + 1) * scores.places(); ++i)
        is_right = !scores.counts(targets[i]) || scores.predicted(m.prediction, i) == targets[i];
      mean.sum += is_right;
      mean.weight += 1;
    }
    return mean;
  }
  bool higher_is_better() const override { return true; }
  bool is_share() const override { return true; }
  bool compares() const override { return true; }

 private:
  std::shared_ptr<const LossRule> loss_;
};

const bool exact_match_metric_registered = metrics().add(
    "exact_match",
    [](MetricList& list, Config&, const MetricPlace& place) {
      place.needs_classes("exact_match");
      list.add("exact_match", std::make_shared<ExactMatch>(place.loss().rule));
    },
    9);

}  // namespace

}  // namespace lockstep
