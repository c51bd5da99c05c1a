// The share of targets among the k highest scores. Of equal scores the lower class stands first, so that k =
// 1 is the accuracy.
#include <fmt/format.h>

#include "src/metrics/class_scores.h"
#include "src/metrics/metric.h"

namespace lockstep {

namespace {

class TopK : public Metric {
 public:
  TopK(int64_t k, std::shared_ptr<const LossRule> loss) : k_(k), loss_(std::move(loss)) {}

  Mean judge(const Judged& m) const override {
    const ClassScores scores(*loss_, m.sample);
    const auto* targets = static_cast<const int64_t*>(m.target);
    Mean mean;
    for (int64_t i = 0; i < m.n_valid * scores.places(); ++i) {
      const int64_t target = targets[i];
      if (!scores.counts(target)) continue;
      const float own = scores.score(m.prediction, i, target);
      int64_t rank = 0;
      for (int64_t c = 0; c < scores.n_classes() && rank < k_; ++c) {
        const float other = scores.score(m.prediction, i, c);
        rank += other > own || (other == own && c < target);
      }
      mean.sum += rank < k_ && own == own;
      mean.weight += 1;
    }
    return mean;
  }
  bool higher_is_better() const override { return true; }
  bool is_share() const override { return true; }
  bool compares() const override { return true; }
  void check(const Shape& prediction) const override {
    const int64_t n = loss_->n_classes(prediction);
    if (k_ >= n)
      throw Error(fmt::format("metric top_{}", k_),
                  fmt::format("of {} classes the target is always among the first {}", n, k_),
                  "give a smaller k: {top_k: {k: 2}}, or leave it out");
  }

 private:
  int64_t k_;
  std::shared_ptr<const LossRule> loss_;
};

void add(MetricList& list, int64_t k, const MetricPlace& place) {
  place.needs_classes("top_k");
  list.add(fmt::format("top_{}", k), std::make_shared<TopK>(k, place.loss().rule));
}

const bool top_5_metric_registered = metrics().add(
    "top_5", [](MetricList& list, Config&, const MetricPlace& place) { add(list, 5, place); }, 3);
const bool top_k_metric_registered = metrics().add(
    "top_k",
    [](MetricList& list, Config& options, const MetricPlace& place) {
      options.positional("k");
      const int64_t k = options.get_int("k", 5);
      if (k < 1)
        throw options.error_at("k", fmt::format("must be at least 1, found {}", k), "for instance k: 5");
      add(list, k, place);
    },
    4);

}  // namespace

}  // namespace lockstep
