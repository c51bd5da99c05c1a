// Whole runs with every optimizer, schedule and average: cut in the middle of an epoch and resumed on other
// ranks they end with the bytes of a run that was let alone; what does not fit is said once.
#include <gtest/gtest.h>

#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class Optimizers : public SmallRuns {
 protected:
  static std::string set(const std::string& key, const std::string& value) {
    return "--set " + key + "='" + value + "' ";
  }
  /// A run with these options, and one of them cut off at step 9 of 24 and resumed on two ranks.
  static void expect_goes_on(const std::string& name, const std::string& options) {
    const Ended straight = lockstep(train(name) + options);
    ASSERT_EQ(straight.status, 0) << options << straight.output;
    const std::string cut = name + "_cut";
    fs::copy(file(name), file(cut), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    for (const std::string& path : list_checkpoints(file(cut + "/checkpoints")))
      if (checkpoint_step(path) > 9) fs::remove(path);
    const Ended resumed = lockstep_on(2, train(cut) + options + "--resume auto");
    ASSERT_EQ(resumed.status, 0) << options << resumed.output;
    EXPECT_TRUE(has(resumed, "resumed at step 9")) << resumed.output;
    const std::string end = read_file(checkpoint(name, 24));
    ASSERT_FALSE(end.empty());
    EXPECT_TRUE(read_file(checkpoint(cut, 24)) == end) << options;
    EXPECT_FALSE(read_file(checkpoint(name, 21)) == end);
  }
  static std::vector<double> rates(const std::string& run) {
    std::vector<double> found;
    for (const MetricsLine& line : read_metrics(file(run + "/metrics.jsonl")))
      if (const double* lr = line.number("lr"); lr && *line.text("kind") == "train") found.push_back(*lr);
    return found;
  }
};

TEST_F(Optimizers, GoOnAfterAResume) {
  const char* const all[] = {"{sgd: {lr: 0.1, momentum: 0.9, dampening: 0.5, l1: 1.0e-4}}",
                             "{sgd: {lr: 0.1, momentum: 0.9, form: heavy_ball, max_norm: 1}}",
                             "{adagrad: {initial: 0.1}}",
                             "{rmsprop: {centered: true, momentum: 0.9}}",
                             "adadelta",
                             "nadam",
                             "{adam: {amsgrad: true}}",
                             "adamax",
                             "radam",
                             "{lion: {weight_decay: 0.1}}",
                             "{lamb: {lr: 0.01, weight_decay: 0.1}}",
                             "{lars: {lr: 10, weight_decay: 0.1}}",
                             "{schedule_free: {lr: 0.01, warmup_steps: 12}}",
                             "{adam: {layer_decay: 0.5, groups: [{match: bias, frozen_until_epoch: 2}]}}"};
  int n = 0;
  for (const char* text : all) expect_goes_on("optimizer" + std::to_string(n++), set("optimizer", text));
}

TEST_F(Optimizers, SchedulesGoOnAfterAResume) {
  const char* const all[] = {"{linear: {over_epochs: 2, warmup_steps: 3}}",
                             "{triangular: {half_cycle_steps: 5, halving: true}}",
                             "{cosine_restarts: {first_steps: 4, growth: 2}}",
                             "one_cycle",
                             "{step: {steps: [4, 11]}}",
                             "{exponential: {gamma: 0.9, every_steps: 2, staircase: true}}"};
  int n = 0;
  for (const char* text : all) {
    const std::string name = "schedule" + std::to_string(n++);
    expect_goes_on(name, set("schedule", text) + "--set train.log_every_steps=1 ");
    const std::vector<double> lr = rates(name);
    ASSERT_EQ(lr.size(), 24U);
    EXPECT_NE(lr[2], lr[13]) << text;
  }
}

TEST_F(Optimizers, APlateauGoesOnAfterAResume) {
  // The loss has to halve with each validation, which it does not.
  const std::string options = set(
      "train", "{epochs: 6, plateau: {patience: 0, factor: 0.5, threshold: 0.5, cooldown: 1, least: 0.2}}");
  const Ended straight = lockstep(train("plateau") + options);
  ASSERT_EQ(straight.status, 0) << straight.output;
  const std::vector<double> lr = rates("plateau");
  EXPECT_EQ(lr.front(), 0.1);
  EXPECT_EQ(lr.back(), 0.1 * 0.25);
  for (const int step : {9, 18, 33}) {
    const std::string cut = "plateau_cut" + std::to_string(step);
    fs::copy(file("plateau"), file(cut), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    for (const std::string& path : list_checkpoints(file(cut + "/checkpoints")))
      if (checkpoint_step(path) > step) fs::remove(path);
    const Ended resumed = lockstep_on(2, train(cut) + options + "--resume auto");
    ASSERT_EQ(resumed.status, 0) << resumed.output;
    EXPECT_TRUE(read_file(checkpoint(cut, 48)) == read_file(checkpoint("plateau", 48))) << step;
  }
  const Ended refused = lockstep(
      train("none") + "--set data.validation= " + set("train", "{epochs: 1, plateau: {patience: 1}}"));
  EXPECT_NE(refused.status, 0);
  EXPECT_TRUE(has(refused, "plateau")) << refused.output;
}

TEST_F(Optimizers, AveragesAndNormsHangOnNoRank) {
  const std::pair<const char*, std::string> all[] = {
      {"lamb", set("optimizer", "{lamb: {lr: 0.01, weight_decay: 0.1}}")},
      {"free", set("optimizer", "{schedule_free: {lr: 0.01}}")},
      {"ema", set("average", "{ema: 0.9}")},
      {"swa", set("average", "{swa: {from_epoch: 1, every_epochs: 0.5}}")},
      {"swa_sharded",
       set("average", "{swa: {from_epoch: 1, every_epochs: 0.5}}") + "--set batch.shard_optimizer=true "}};
  for (const auto& [name, options] : all) {
    const std::string micro = options + "--set batch.micro=2 ";
    for (const int ranks : {1, 2, 4}) {
      const std::string run = name + std::to_string(ranks);
      const Ended ended = lockstep_on(ranks, train(run) + micro);
      ASSERT_EQ(ended.status, 0) << ended.output;
      const std::string first = read_file(checkpoint(name + std::string("1"), 24));
      ASSERT_FALSE(first.empty());
      EXPECT_TRUE(read_file(checkpoint(run, 24)) == first) << run;
    }
    if (std::string(name) == "lamb") continue;
    const std::string words =
        "evaluate " + checkpoint(name + std::string("1"), 24) + " --json --data " + file("val.h5");
    const Ended weights = lockstep(words), averages = lockstep(words + " --average");
    EXPECT_EQ(averages.status, 0) << averages.output;
    EXPECT_NE(weights.output, averages.output) << name;
  }
}

// One path: all samples in a step, one sample in a step.
TEST_F(Optimizers, FullBatchesAndSingleSamples) {
  const auto losses = [](const std::string& run) {
    std::vector<double> found;
    for (const MetricsLine& line : read_metrics(file(run + "/metrics.jsonl")))
      if (const double* loss = line.number("loss"); loss && *line.text("kind") == "train")
        found.push_back(*loss);
    return found;
  };
  for (const int ranks : {1, 2, 4}) {
    const std::string run = "full" + std::to_string(ranks);
    const Ended ended = lockstep_on(ranks, train(run) + set("batch", "{global: 64, micro: 16}") +
                                               set("train", "{epochs: 12, log_every_steps: 1}"));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_TRUE(read_file(checkpoint(run, 12)) == read_file(checkpoint("full1", 12)));
  }
  // The gradient of all samples is no estimate: the loss falls with every step.
  const std::vector<double> full = losses("full1");
  ASSERT_EQ(full.size(), 12U);
  for (size_t i = 1; i < full.size(); ++i) EXPECT_LT(full[i], full[i - 1]);

  const Ended single = lockstep(train("single") + set("batch", "{global: 1, micro: 1}") +
                                set("train", "{epochs: 2, log_every_steps: 64}"));
  ASSERT_EQ(single.status, 0) << single.output;
  ASSERT_EQ(losses("single").size(), 2U);
  EXPECT_LT(losses("single")[1], losses("single")[0]);
}

TEST_F(Optimizers, SayOnceWhatDoesNotFit) {
  const std::pair<std::string, const char*> all[] = {
      {set("schedule", "{linear: {over_epochs: 9}}"), "over_epochs"},
      {set("schedule", "{triangular: {half_cycle_steps: 99}}"), "longer than the run"},
      {set("schedule", "{constant: {warmup_steps: 99}}"), "more than the run's 24"},
      {set("average", "{swa: {from_epoch: 9}}"), "behind it"},
      {set("optimizer", "lamb") + "--set batch.shard_optimizer=true ", "looks at whole parameters"},
      {set("optimizer", "schedule_free") + set("schedule", "cosine"), "stands in place of it"},
      {set("optimizer", "schedule_free") + set("average", "{ema: 0.9}"), "stands in place of it"},
      {set("init", "{he_normal: {groups: [{match: fx, init: zeros}]}}"), "matches none of the"}};
  for (const auto& [options, text] : all) {
    const Ended ended = lockstep_on(2, train("refused") + options);
    EXPECT_EQ(ended.status, 1) << options << ended.output;
    EXPECT_TRUE(has(ended, text)) << options << ended.output;
    EXPECT_EQ(count(ended.output, "lockstep: "), 1) << options << ended.output;
  }
}

}  // namespace
}  // namespace lockstep
