// The share of what was judged rightly, and of what was not: both are counted by the loss.
#include "src/metrics/metric.h"

namespace lockstep {

namespace {

class Accuracy : public Metric {
 public:
  Mean judge(const Judged& m) const override { return {m.loss_values[kNCorrect], m.loss_values[kNCounted]}; }
  bool higher_is_better() const override { return true; }
  bool is_share() const override { return true; }
};

class ZeroOne : public Metric {
 public:
  Mean judge(const Judged& m) const override {
    return {m.loss_values[kNCounted] - m.loss_values[kNCorrect], m.loss_values[kNCounted]};
  }
  bool is_share() const override { return true; }
};

template <class M>
void add(MetricList& list, const char* name, const MetricPlace& place) {
  if (!place.loss().has_accuracy())
    throw place.description.error("this loss has no accuracy",
                                  "set best: loss, or name a metric that measures distances, such as "
                                  "mean_absolute_error");
  list.add(name, std::make_shared<M>());
}

const bool accuracy_metric_registered = metrics().add(
    "accuracy",
    [](MetricList& list, Config&, const MetricPlace& place) { add<Accuracy>(list, "accuracy", place); }, 1);
const bool zero_one_metric_registered = metrics().add(
    "zero_one",
    [](MetricList& list, Config&, const MetricPlace& place) { add<ZeroOne>(list, "zero_one", place); }, 2);

}  // namespace

}  // namespace lockstep
