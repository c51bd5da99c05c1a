// Distances of outputs and targets, over all elements of all samples alike, whatever the loss makes of them.
#include <cmath>

#include "src/metrics/metric.h"

namespace lockstep {

namespace {

class Distance : public Metric {
 public:
  enum class Kind { kAbsolute, kSquared, kRootOfSquared };
  explicit Distance(Kind kind) : kind_(kind) {}

  Mean judge(const Judged& m) const override {
    const int64_t n = m.n_valid * m.sample.n_elements();
    const auto* targets = static_cast<const float*>(m.target);
    Mean mean{0, static_cast<double>(n)};
    for (int64_t i = 0; i < n; ++i) {
      const double difference = static_cast<double>(m.prediction[i]) - targets[i];
      mean.sum += kind_ == Kind::kAbsolute ? std::abs(difference) : difference * difference;
    }
    return mean;
  }
  double value(double mean) const override { return kind_ == Kind::kRootOfSquared ? std::sqrt(mean) : mean; }
  bool compares() const override { return true; }

 private:
  Kind kind_;
};

MetricMaker maker(const char* name, Distance::Kind kind) {
  return [=](MetricList& list, Config&, const MetricPlace& place) {
    place.needs_numbers(name);
    list.add(name, std::make_shared<Distance>(kind));
  };
}

const bool mean_absolute_error_metric_registered =
    metrics().add("mean_absolute_error", maker("mean_absolute_error", Distance::Kind::kAbsolute), 5);
const bool mean_squared_error_metric_registered =
    metrics().add("mean_squared_error", maker("mean_squared_error", Distance::Kind::kSquared), 6);
const bool root_mean_squared_error_metric_registered = metrics().add(
    "root_mean_squared_error", maker("root_mean_squared_error", Distance::Kind::kRootOfSquared), 7);

}  // namespace

}  // namespace lockstep
