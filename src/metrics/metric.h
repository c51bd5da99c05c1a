// What is told of a network beside its loss: each metric is a mean over what it judges (samples, pixels or
// tokens) and a number made of that mean. Sums of micro-batches meet in the tree of gradients, so that values
// have the same bits on any number of ranks. One file per metric.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/config/family.h"
#include "src/losses/loss.h"

namespace lockstep {

/// What a micro-batch shows: the reported loss, and what it compared.
struct Judged {
  const double* loss_values = nullptr;  // indexed by LossValue
  const float* prediction = nullptr;    // (n_valid, sample), dense; null unless some metric compares
  const void* target = nullptr;         // (n_valid, …) of the loss's target_dtype
  int64_t n_valid = 0;
  Shape sample;  // of the prediction
};

class Metric {
 public:
  virtual ~Metric() = default;

  struct Mean {
    double sum = 0, weight = 0;
  };
  virtual Mean judge(const Judged& micro_batch) const = 0;
  virtual double value(double mean) const { return mean; }

  virtual bool higher_is_better() const { return false; }
  /// Whether its values are shares, which people read in per cent.
  virtual bool is_share() const { return false; }
  /// Whether it looks at prediction and target, and not at the sums of the loss alone.
  virtual bool compares() const { return false; }
  /// Throws Error where it means nothing for such a prediction (of one sample).
  virtual void check(const Shape& /*prediction*/) const {}
};

/// The metrics of a job, in their order.
class MetricList {
 public:
  static constexpr int64_t kMost = 16;
  struct Named {
    std::string name;
    std::shared_ptr<const Metric> metric;
  };

  void add(const std::string& name, std::shared_ptr<const Metric> metric) { all_.push_back({name, metric}); }
  const std::vector<Named>& all() const { return all_; }
  const Metric* find(const std::string& name) const;
  int64_t size() const { return static_cast<int64_t>(all_.size()); }

  bool compares() const;
  void check(const Shape& prediction) const;

  /// Doubles of a micro-batch's sums.
  int64_t n_sums() const { return 2 * size(); }
  void judge(const Judged& micro_batch, double* sums) const;
  /// Metric i's mean of such sums; 0 where nothing was judged.
  static double mean(const double* sums, int64_t i);
  /// Its value where `mean` is its mean.
  double value(int64_t i, double mean) const { return all_[static_cast<size_t>(i)].metric->value(mean); }

  bool counts_confusion = false;  // validation tells which classes were taken for which

 private:
  std::vector<Named> all_;
};

/// Of a step: each metric's mean, as a step allocates nothing.
using MetricMeans = std::array<double, MetricList::kMost>;

/// Where a metric stands: in a job with these losses, the reported one first.
struct MetricPlace {
  const Config& description;
  const std::vector<LossSpec>& losses;
  const LossSpec& loss() const { return losses[0]; }
  /// Throws Error unless the loss classifies, or compares numbers.
  void needs_classes(const char* metric) const;
  void needs_numbers(const char* metric) const;
};

/// Adds itself to the list.
using MetricMaker = std::function<void(MetricList& list, Config& options, const MetricPlace& place)>;

/// The metrics by name. A new one is a file src/metrics/NAME.cpp with
///   const bool NAME_metric_registered = metrics().add("NAME", [](MetricList& list, …) { … });
Family<MetricMaker>& metrics();

/// The job's `metrics`: names or {name: {options}}. Absent: accuracy and confusion where the loss judges.
MetricList read_metrics(const std::optional<Config>& description, const std::vector<LossSpec>& losses);

/// What runs are compared by: the loss or a metric.
struct Measure {
  std::string name = "loss";
  bool is_share = false, higher_is_better = false;
  bool is_loss() const { return name == "loss"; }
  bool is_better(double value, double than) const { return higher_is_better ? value > than : value < than; }
};

/// "loss" or the name of a metric, which joins the list if it is not in it. Absent: accuracy if it is in the
/// list, else the loss.
Measure read_measure(const std::optional<Config>& description, MetricList& list,
                     const std::vector<LossSpec>& losses);

/// "97.13 %" or "0.02841", for people.
std::string measure_text(double value, bool is_share);

}  // namespace lockstep
