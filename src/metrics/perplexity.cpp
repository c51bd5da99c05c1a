// exp of the mean of -log of the targets' probabilities, over the targets that count. A loss without class
// weights and smoothing has that mean already; else it is computed from the scores.
#include <algorithm>
#include <cmath>

#include "src/metrics/class_scores.h"
#include "src/metrics/metric.h"

namespace lockstep {

namespace {

class Perplexity : public Metric {
 public:
  Perplexity(std::shared_ptr<const LossRule> loss, bool from_loss)
      : loss_(std::move(loss)), from_loss_(from_loss) {}

  Mean judge(const Judged& m) const override {
    if (from_loss_) return {m.loss_values[kLossSum], m.loss_values[kWeightSum]};
    const ClassScores scores(*loss_, m.sample);
    const auto* targets = static_cast<const int64_t*>(m.target);
    Mean mean;
    for (int64_t i = 0; i < m.n_valid * scores.places(); ++i) {
      if (!scores.counts(targets[i])) continue;
      double largest = scores.score(m.prediction, i, 0), sum = 0;
      for (int64_t c = 1; c < scores.n_classes(); ++c)
        largest = std::max<double>(largest, scores.score(m.prediction, i, c));
      for (int64_t c = 0; c < scores.n_classes(); ++c)
        sum += std::exp(scores.score(m.prediction, i, c) - largest);
      mean.sum += std::log(sum) + largest - scores.score(m.prediction, i, targets[i]);
      mean.weight += 1;
    }
    return mean;
  }
  double value(double mean) const override { return std::exp(mean); }
  bool compares() const override { return !from_loss_; }

 private:
  std::shared_ptr<const LossRule> loss_;
  bool from_loss_;
};

const bool perplexity_metric_registered = metrics().add(
    "perplexity",
    [](MetricList& list, Config&, const MetricPlace& place) {
      if (place.loss().rule->probability() != LossRule::Probability::kSoftmax)
        throw place.description.error("perplexity is one of probabilities, which softmax_cross_entropy has",
                                      "leave it out, or use that loss");
      const bool from_loss = place.losses.size() == 1 && place.loss().weight == 1 &&
                             place.loss().rule->is_plain_log_likelihood();
      list.add("perplexity", std::make_shared<Perplexity>(place.loss().rule, from_loss));
    },
    8);

}  // namespace

}  // namespace lockstep
