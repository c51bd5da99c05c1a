// A metric of one's own: the mean probability of the true class, which says how sure a network is where
// accuracy says how often it is right.
#include <algorithm>
#include <cmath>

#include "src/metrics/metric.h"

namespace {

using namespace lockstep;

class TrueClassProbability : public Metric {
 public:
  Mean judge(const Judged& m) const override {
    const int64_t k = m.sample.n_elements();
    const auto* targets = static_cast<const int64_t*>(m.target);
    Mean mean{0, static_cast<double>(m.n_valid)};
    for (int64_t i = 0; i < m.n_valid; ++i) {
      const float* scores = m.prediction + i * k;
      const double largest = *std::max_element(scores, scores + k);
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += std::exp(scores[c] - largest);
      mean.sum += std::exp(scores[targets[i]] - largest) / sum;
    }
    return mean;
  }
  bool higher_is_better() const override { return true; }
  bool is_share() const override { return true; }
  bool compares() const override { return true; }  // looks at scores and targets
  void check(const Shape& prediction) const override {
    if (prediction.rank() != 1)
      throw Error("metric true_class", "the network gives no row of scores", "leave the metric out");
  }
};

const bool registered = metrics().add("true_class", [](MetricList& list, Config&, const MetricPlace& place) {
  place.needs_classes("true_class");
  list.add("true_class", std::make_shared<TrueClassProbability>());
});

}  // namespace
