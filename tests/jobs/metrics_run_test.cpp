// The metrics of a run: the same in all files on any number of ranks and over resumes, as evaluate counts
// them, on CPU and GPU; any of them chooses the best checkpoint and ends a run early.
#include <gtest/gtest.h>

#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

const char* const kMetrics =
    "--set metrics='[accuracy, {top_k: 2}, perplexity]' "
    "--set loss='{softmax_cross_entropy: {label_smoothing: 0.1}}' ";

class MetricsOfRuns : public SmallRuns {
 protected:
  /// "step name value …" of all lines of a kind.
  static std::vector<std::string> lines(const std::string& run, const std::string& kind) {
    std::vector<std::string> found;
    for (const MetricsLine& line : read_metrics(file(run + "/metrics.jsonl"))) {
      const std::string* text = line.text("kind");
      if (!text || *text != kind) continue;
      std::string shown;
      for (const char* key : {"step", "loss", "accuracy", "top_2", "perplexity"}) {
        const double* value = line.number(key);
        EXPECT_TRUE(value) << key;
        if (value) shown += json_number(*value) + " ";
      }
      found.push_back(shown);
    }
    return found;
  }
  static double last(const std::string& run, const std::string& kind, const std::string& key) {
    double value = 0;
    for (const MetricsLine& line : read_metrics(file(run + "/metrics.jsonl")))
      if (*line.text("kind") == kind && line.number(key)) value = *line.number(key);
    return value;
  }
};

TEST_F(MetricsOfRuns, AreTheSameOnRanksAndOverResumes) {
  const std::string options = std::string(kMetrics) + "--set checkpoint.best=top_2";
  for (const int n : {1, 2}) {
    const Ended ended = lockstep_on(n, train("ranks" + std::to_string(n)) + options);
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_TRUE(has(ended, "best validation top_2 ")) << ended.output;
  }
  for (const char* kind : {"train", "validation"}) {
    EXPECT_GE(lines("ranks1", kind).size(), 3U);
    EXPECT_EQ(lines("ranks1", kind), lines("ranks2", kind));
  }
  EXPECT_TRUE(read_file(checkpoint("ranks1", 24)) == read_file(checkpoint("ranks2", 24)));

  // On with another number of ranks, from within an interval.
  ASSERT_EQ(lockstep(train("cut") + options + " --set train.epochs=1").status, 0);
  std::string resume = "--resume " + checkpoint("cut", 6);
  const Ended ended = lockstep_on(2, train("cut") + options + " " + resume);
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(lines("cut", "train"), lines("ranks1", "train"));
  EXPECT_TRUE(read_file(checkpoint("cut", 24)) == read_file(checkpoint("ranks1", 24)));

  const Ended evaluated =
      lockstep("evaluate " + checkpoint("ranks1", 24) + " --data " + file("val.h5") + " --json");
  ASSERT_EQ(evaluated.status, 0) << evaluated.output;
  for (const char* key : {"accuracy", "top_2", "perplexity"})
    EXPECT_TRUE(
        has(evaluated, "\"" + std::string(key) + "\": " + json_number(last("ranks1", "validation", key))))
        << key << evaluated.output;
  const Ended others = lockstep("evaluate " + checkpoint("ranks1", 24) + " --data " + file("val.h5") +
                                " --metrics 'zero_one, {top_k: 3}'");
  EXPECT_TRUE(has(others, "zero_one") && has(others, "top_3") && !has(others, "accuracy")) << others.output;
}

TEST_F(MetricsOfRuns, TheReportShowsThem) {
  const Ended ended = lockstep(train("report") + kMetrics + "--set checkpoint.best=perplexity");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::string page = read_file(file("report/report.html"));
  EXPECT_NE(page.find("Validation perplexity"), std::string::npos);
  EXPECT_NE(page.find("top_2"), std::string::npos);
}

TEST_F(MetricsOfRuns, EarlyStoppingLooksAtItsOwnMeasure) {
  // The rate is so high that validation gets worse, by one measure or the other.
  const std::string options = std::string(kMetrics) +
                              "--set train='{epochs: 12, early_stopping: {patience: 1, measure: zero_one}}' "
                              "--set checkpoint.best=perplexity";
  const Ended ended = lockstep(train("early") + options);
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(has(ended, "stopped early")) << ended.output;
  const auto values = [&](const char* key) {
    std::vector<double> all;
    for (const MetricsLine& line : read_metrics(file("early/metrics.jsonl")))
      if (*line.text("kind") == "validation") all.push_back(*line.number(key));
    return all;
  };
  const std::vector<double> watched = values("zero_one"), chosen = values("perplexity");
  ASSERT_GE(watched.size(), 2U);
  for (size_t i = 1; i + 1 < watched.size(); ++i) EXPECT_LT(watched[i], watched[i - 1]);
  EXPECT_GE(watched.back(), watched[watched.size() - 2]);
  size_t best = 0;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (chosen[i] < chosen[best]) best = i;
  EXPECT_EQ(linked_checkpoint(file("early/checkpoints"), kBestLink), 8 * static_cast<int>(best + 1));
}

TEST_F(MetricsOfRuns, WhatDoesNotFitIsRefused) {
  const Ended ended = lockstep_on(2, train("misfit") + "--set metrics='[top_5]'");
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(has(ended, "metric top_5: of 4 classes")) << ended.output;
  EXPECT_EQ(count(ended.output, "lockstep: "), 1) << ended.output;
}

}  // namespace
}  // namespace lockstep
