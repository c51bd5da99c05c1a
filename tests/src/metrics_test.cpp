// The metrics of a job: each against a plain computation of its own, their reading, and what they refuse.
#include <cmath>
#include <numeric>

#include "src/metrics/confusion.h"
#include "src/run/job.h"
#include "tests/src/expect_error.h"

namespace lockstep {
namespace {

/// A job with this loss, and further lines.
Job job_with(const std::string& loss, const std::string& lines = "") {
  const std::string train = lines.find("train: {") == std::string::npos ? "\ntrain: {steps: 1}" : "";
  return read_job(Config::from_text(
      "name: m\nmodel: {}\nbatch: 8\noptimizer: adam\nseed: 1\nloss: " + loss + "\n" + lines + train,
      "job.yaml"));
}

std::vector<std::string> names(const Job& job) {
  std::vector<std::string> names;
  for (const MetricList::Named& m : job.metrics.all()) names.push_back(m.name);
  return names;
}

/// Values of the job's metrics over one micro-batch.
std::vector<double> values(const Job& job, const Judged& judged) {
  std::vector<double> sums(static_cast<size_t>(job.metrics.n_sums()));
  job.metrics.judge(judged, sums.data());
  std::vector<double> values;
  for (int64_t i = 0; i < job.metrics.size(); ++i)
    values.push_back(job.metrics.value(i, MetricList::mean(sums.data(), i)));
  return values;
}

Judged judged(const std::vector<float>& predictions, const void* targets, int64_t n_valid,
              const Shape& sample, const std::vector<double>& loss_values) {
  Judged judged;
  judged.prediction = predictions.data();
  judged.target = targets;
  judged.n_valid = n_valid;
  judged.sample = sample;
  judged.loss_values = loss_values.data();
  return judged;
}

TEST(Metrics, UsualOnes) {
  EXPECT_EQ(names(job_with("softmax_cross_entropy")), std::vector<std::string>{"accuracy"});
  EXPECT_TRUE(job_with("softmax_cross_entropy").metrics.counts_confusion);
  EXPECT_EQ(names(job_with("binary_cross_entropy")), std::vector<std::string>{"accuracy"});
  EXPECT_FALSE(job_with("binary_cross_entropy").metrics.counts_confusion);
  EXPECT_TRUE(names(job_with("l2")).empty());
  const Job given = job_with("softmax_cross_entropy", "metrics: [top_5, perplexity]");
  EXPECT_EQ(names(given), (std::vector<std::string>{"top_5", "perplexity"}));
  EXPECT_FALSE(given.metrics.counts_confusion);
  EXPECT_EQ(given.best.name, "loss");
}

TEST(Metrics, TopKIsTheShareAmongTheKHighest) {
  // Targets stand at ranks 0, 1, 2, 3, and 1 by its index among equal ones.
  const std::vector<float> scores{4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 5, 5, 0, 0, 9, 9, 9, 9};
  const std::vector<int64_t> targets{0, 1, 2, 3, 1, 0};
  const std::vector<double> loss{0, 2, 6, 6};
  const Job job = job_with("softmax_cross_entropy",
                           "metrics: [{top_k: 1}, {top_k: {k: 2}}, {top_k: 3}, accuracy, zero_one]");
  EXPECT_EQ(names(job), (std::vector<std::string>{"top_1", "top_2", "top_3", "accuracy", "zero_one"}));
  const std::vector<double> found = values(job, judged(scores, targets.data(), 5, {4}, loss));
  EXPECT_EQ(found[0], 1 / 5.0);
  EXPECT_EQ(found[1], 3 / 5.0);
  EXPECT_EQ(found[2], 4 / 5.0);
  EXPECT_EQ(found[3], 2 / 6.0);
  EXPECT_EQ(found[4], 4 / 6.0);
  EXPECT_EQ(values(job, judged(scores, targets.data(), 0, {4}, {0, 0, 0, 0}))[1], 0);
}

TEST(Metrics, PlacesAndIgnoredTargets) {
  // (K, places) and (places, K): two samples of three classes at two places; one target counts nothing.
  const std::vector<float> first{1, 0, 2, 5, 3, 4, 0, 9, 1, 1, 2, 2};
  std::vector<float> last(first.size());
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t p = 0; p < 2; ++p) last[n * 6 + p * 3 + c] = first[n * 6 + c * 2 + p];
  const std::vector<int64_t> targets{2, 2, -100, 2};
  const std::vector<double> loss{0, 0, 0, 0};
  for (const bool classes_last : {false, true}) {
    const Job job = job_with(std::string("{softmax_cross_entropy: {ignore: -100, class_axis: ") +
                                 (classes_last ? "last" : "first") + "}}",
                             "metrics: [{top_k: 1}, {top_k: 2}, confusion]");
    const Judged m = judged(classes_last ? last : first, targets.data(), 2,
                            classes_last ? Shape{2, 3} : Shape{3, 2}, loss);
    const std::vector<double> found = values(job, m);
    EXPECT_EQ(found[0],
              1 / 3.0);  // place 0 of sample 0 is right, its place 1 second, place 1 of sample 1 second
    EXPECT_EQ(found[1], 1.0);
    Confusion confusion(3);
    confusion.judge(*job.loss.rule, m);
    EXPECT_EQ(confusion.matrix(), (std::vector<int64_t>{0, 0, 0, 0, 0, 0, 1, 1, 1}));
  }
}

TEST(Metrics, DistancesAreOverAllElements) {
  const std::vector<float> outputs{1, 2, 3, 4, 5, 6}, targets{0, 2, 5, 4, 1, 6};
  const Job job = job_with("{l2: {half: true}}",
                           "metrics: [mean_absolute_error, mean_squared_error, root_mean_squared_error]");
  const std::vector<double> found = values(job, judged(outputs, targets.data(), 2, {3}, {0, 0, 0, 0}));
  EXPECT_DOUBLE_EQ(found[0], (1 + 0 + 2 + 0 + 4 + 0) / 6.0);
  EXPECT_DOUBLE_EQ(found[1], (1 + 0 + 4 + 0 + 16 + 0) / 6.0);
  EXPECT_DOUBLE_EQ(found[2], std::sqrt(21 / 6.0));
  EXPECT_DOUBLE_EQ(values(job, judged(outputs, targets.data(), 1, {3}, {0, 0, 0, 0}))[0], 1);  // padding
}

TEST(Metrics, PerplexityIsThatOfTheTargetsAlone) {
  const std::vector<float> scores{1, 2, 3, 80, -80, 0.5F};
  const std::vector<int64_t> targets{2, 1};
  double sum = 0;
  for (size_t i = 0; i < 2; ++i) {
    double total = 0;
    for (size_t c = 0; c < 3; ++c) total += std::exp(static_cast<double>(scores[3 * i + c]));
    sum += std::log(total) - scores[3 * i + static_cast<size_t>(targets[i])];
  }
  const Job plain = job_with("softmax_cross_entropy", "metrics: [perplexity]");
  EXPECT_FALSE(plain.metrics.compares());
  EXPECT_DOUBLE_EQ(values(plain, judged(scores, targets.data(), 2, {3}, {sum, 1, 2, 2}))[0],
                   std::exp(sum / 2));
  const Job smooth = job_with("{softmax_cross_entropy: {label_smoothing: 0.1}}", "metrics: [perplexity]");
  EXPECT_TRUE(smooth.metrics.compares());
  EXPECT_DOUBLE_EQ(values(smooth, judged(scores, targets.data(), 2, {3}, {0, 0, 0, 0}))[0],
                   std::exp(sum / 2));
}

TEST(Metrics, AnyOfThemIsAMeasure) {
  const Job job =
      job_with("softmax_cross_entropy",
               "metrics: [accuracy, top_5]\ncheckpoint: {best: top_5}\ndata: { train: a, validation: b }\n"
               "train: {epochs: 1, early_stopping: {patience: 2, measure: perplexity}}");
  EXPECT_EQ(job.best.name, "top_5");
  EXPECT_TRUE(job.best.higher_is_better && job.best.is_share);
  EXPECT_EQ(job.early_stopping.name, "perplexity");
  EXPECT_FALSE(job.early_stopping.higher_is_better);
  EXPECT_EQ(names(job), (std::vector<std::string>{"accuracy", "top_5", "perplexity"}));
  EXPECT_TRUE(job.best.is_better(0.5, 0.4));
  EXPECT_TRUE(job.early_stopping.is_better(0.4, 0.5));
  const Job custom = job_with("softmax_cross_entropy", "checkpoint: {best: {top_k: {k: 3}}}");
  EXPECT_EQ(custom.best.name, "top_3");
}

TEST(Metrics, WhatIsRefused) {
  const auto refused = [](const std::string& loss, const std::string& lines,
                          const std::vector<std::string>& words) {
    expect_error([&] { job_with(loss, lines); }, words);
  };
  refused("softmax_cross_entropy", "metrics: [acuracy]", {"job.yaml:7: metrics", "did you mean 'accuracy'?"});
  refused("softmax_cross_entropy", "metrics: [accuracy, accuracy]", {"metrics", "told already"});
  refused("softmax_cross_entropy", "metrics: [top_5, {top_k: 5}]", {"metrics", "'top_5' is told already"});
  refused("softmax_cross_entropy", "metrics: [{top_k: 0}]", {"k", "at least 1"});
  refused("softmax_cross_entropy", "metrics: [{top_k: {n: 3}}]", {"'n'", "known keys here: k"});
  refused("softmax_cross_entropy", "metrics: [mean_squared_error]", {"compares scores with classes", "l2"});
  refused("l2", "metrics: [accuracy]", {"no accuracy"});
  refused("l1", "metrics: [confusion]", {"confusion counts classes", "l1"});
  refused("hinge", "metrics: [perplexity]", {"probabilities", "softmax_cross_entropy"});
  refused("softmax_cross_entropy", "checkpoint: {best: confusion}", {"unknown measure 'confusion'"});
  const Job job = job_with("softmax_cross_entropy", "metrics: [top_5]");
  expect_error([&] { job.metrics.check({5}); }, {"top_5", "of 5 classes", "smaller k"});
  EXPECT_NO_THROW(job.metrics.check({6}));
}

}  // namespace
}  // namespace lockstep
