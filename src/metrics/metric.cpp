#include "src/metrics/metric.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

Family<MetricMaker>& metrics() {
  static Family<MetricMaker> family("metric", "metrics");
  return family;
}

const Metric* MetricList::find(const std::string& name) const {
  const auto found = std::find_if(all_.begin(), all_.end(), [&](const Named& m) { return m.name == name; });
  return found == all_.end() ? nullptr : found->metric.get();
}

bool MetricList::compares() const {
  return std::any_of(all_.begin(), all_.end(), [](const Named& m) { return m.metric->compares(); });
}

void MetricList::check(const Shape& prediction) const {
  for (const Named& m : all_) m.metric->check(prediction);
}

void MetricList::judge(const Judged& micro_batch, double* sums) const {
  for (const Named& m : all_) {
    const Metric::Mean mean = m.metric->judge(micro_batch);
    *sums++ = mean.sum;
    *sums++ = mean.weight;
  }
}

double MetricList::mean(const double* sums, int64_t i) {
  return sums[2 * i + 1] > 0 ? sums[2 * i] / sums[2 * i + 1] : 0;
}

void MetricPlace::needs_classes(const char* metric) const {
  if (loss().is_classification()) return;
  throw description.error(fmt::format("{} counts classes, and the loss {} has none", metric, loss().name),
                          "leave it out, or use a loss of class ids; the loss itself is told as 'loss'");
}

void MetricPlace::needs_numbers(const char* metric) const {
  if (loss().rule->compares_numbers()) return;
  throw description.error(
      fmt::format("{} is a distance of outputs and targets, and the loss {} compares scores with classes",
                  metric, loss().name),
      "leave it out, or use loss l1 or l2; the loss itself is told as 'loss'");
}

namespace {

void add_metric(MetricList& list, const Config& description, const std::vector<LossSpec>& losses) {
  const Config::Named named = description.named();
  const int64_t before = list.size();
  metrics().at(named.name, description)(list, *named.options, {description, losses});
  named.options->finish();
  for (int64_t i = before; i < list.size(); ++i) {
    const std::string& name = list.all()[static_cast<size_t>(i)].name;
    const auto same = [&](const MetricList::Named& other) { return other.name == name; };
    if (name == "loss" || std::count_if(list.all().begin(), list.all().end(), same) > 1)
      throw description.error(fmt::format("'{}' is told already", name), "name each metric once");
    if (i >= MetricList::kMost)
      throw description.error(fmt::format("there are more than {} metrics", MetricList::kMost),
                              "name those that you look at");
  }
}

}  // namespace

MetricList read_metrics(const std::optional<Config>& description, const std::vector<LossSpec>& losses) {
  MetricList list;
  if (!description) {
    const Config usual = Config::from_text("metrics: [accuracy, confusion, perplexity]", "metrics");
    const std::vector<Config> items = usual.at("metrics").items();
    if (losses[0].has_accuracy()) add_metric(list, items[0], losses);
    if (losses[0].is_classification())
      add_metric(list, items[losses[0].rule->is_of_tokens() ? 2 : 1], losses);
    return list;
  }
  const std::vector<Config> items =
      description->is_list() ? description->items() : std::vector<Config>{*description};
  for (const Config& item : items) add_metric(list, item, losses);
  return list;
}

Measure read_measure(const std::optional<Config>& description, MetricList& list,
                     const std::vector<LossSpec>& losses) {
  std::string name = list.find("accuracy") ? "accuracy" : "loss";
  if (description) {
    name = description->named().name;
    const bool is_member = metrics().find(name) != nullptr;
    if (name != "loss" && !list.find(name)) {
      std::vector<std::string> known = metrics().names();
      std::erase(known, "confusion");
      known.insert(known.begin() + std::min<int64_t>(1, static_cast<int64_t>(known.size())), "loss");
      if (!is_member || name == "confusion")
        throw description->unknown_name("measure", "measures", name, known);
      add_metric(list, *description, losses);
      name = list.all().back().name;
    }
  }
  const Metric* metric = list.find(name);
  return {name, metric && metric->is_share(), metric && metric->higher_is_better()};
}

std::string measure_text(double value, bool is_share) {
  return is_share ? fmt::format("{:.2f} %", 100 * value) : fmt::format("{:.6g}", value);
}

}  // namespace lockstep
