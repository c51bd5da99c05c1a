// Training with gradients by way of NCCL, as users run it, on stand-in GPUs: one job gives the same bytes on
// 1, 2 and 4 ranks and through host memory; NCCL's errors end all ranks with one message; where a rank has no
// NCCL, all go through the host and say so.
#include <gtest/gtest.h>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

constexpr int64_t kSteps = 19;  // one epoch

class NcclTraining : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended = train(1, "reference");
    ASSERT_EQ(ended.status, 0) << ended.output;
    ASSERT_FALSE(checkpoint("reference").empty());
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }

  static std::string command(const std::string& run, const std::string& options) {
    return std::string(LOCKSTEP_PROGRAM_ON_HOST) + " " + place_->train(run) +
           "--set device=cuda --set train.epochs=1 " + options;
  }
  /// n ranks, with a GPU each, in an environment with more variables ("A=B C=D").
  static Ended train(int n_ranks, const std::string& run, const std::string& options = "",
                     const std::string& variables = "") {
    return run_shell("env " + variables + " " + LOCKSTEP_MPIEXEC + " -n " + std::to_string(n_ranks) + " " +
                     command(run, options));
  }
  static std::string checkpoint(const std::string& run) { return read_file(place_->checkpoint(run, kSteps)); }
  /// How the run says that its gradients travelled.
  static void expect_way(const Ended& ended, const std::string& run, const std::string& way) {
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_EQ(count(ended.output, "gradients: " + way), 1) << ended.output;
    EXPECT_EQ(count(read_file(place_->file(run + "/metrics.jsonl")), "\"gradients\": \"" + way), 1);
  }
  /// Ends all ranks, promptly, with the text once.
  static void expect_error(const Ended& ended, const std::string& text) {
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_LT(ended.time_s, 60);
    EXPECT_EQ(count(ended.output, text), 1) << ended.output;
    EXPECT_NE(ended.output.find("LOCKSTEP_NCCL_LIBRARY=none"), std::string::npos) << ended.output;
  }
  static Workplace* place_;
};
Workplace* NcclTraining::place_ = nullptr;

TEST_F(NcclTraining, RankCountsGiveEqualBytes) {
  for (const int n : {2, 4}) {
    const std::string run = "nccl" + std::to_string(n);
    expect_way(train(n, run), run, "NCCL 2.28.9 tree");
    EXPECT_EQ(checkpoint(run), checkpoint("reference")) << n << " ranks";
  }
  const Ended seed = train(2, "other_seed", "--set seed=4");
  EXPECT_EQ(seed.status, 0) << seed.output;
  EXPECT_NE(checkpoint("other_seed"), checkpoint("reference")) << "the comparison cannot fail";
}

TEST_F(NcclTraining, ManyBuckets) {
  // The job's text differs, so the file does; the last loss must not.
  const Ended ended = train(2, "buckets", "--set batch.bucket_mb=0.001 --set batch.first_bucket_mb=0.0001");
  EXPECT_EQ(ended.status, 0) << ended.output;
  const std::string lines = read_file(place_->file("buckets/metrics.jsonl"));
  const auto last_loss = [](const std::string& text) {
    const size_t at = text.rfind("\"kind\": \"validation\""), loss = text.find("\"loss\": ", at);
    return text.substr(loss, text.find(',', loss) - loss);
  };
  EXPECT_EQ(last_loss(lines), last_loss(read_file(place_->file("reference/metrics.jsonl"))));
}

TEST_F(NcclTraining, MetricsThatLookAtOutputs) {
  // A GPU copies outputs and targets to the host while the next micro-batch is on its way: on one rank and on
  // two the numbers are those of the same samples.
  const std::string options = "--set metrics='[{top_k: 3}, zero_one]'";
  for (const int n : {1, 2}) {
    const Ended ended = train(n, "metrics" + std::to_string(n), options);
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  const auto values = [](const std::string& run) {
    const std::string lines = read_file(place_->file(run + "/metrics.jsonl"));
    std::string found;
    for (size_t at = 0; (at = lines.find("\"top_3\": ", at)) != std::string::npos; ++at)
      found += lines.substr(at, lines.find('z', at) - at) + "\n";  // up to zero_one
    return found;
  };
  EXPECT_GT(count(values("metrics1"), "top_3"), 3);
  EXPECT_EQ(values("metrics1"), values("metrics2"));
}

TEST_F(NcclTraining, ShardedOptimizerState) {
  const std::string sharded = "--set batch.shard_optimizer=true --set batch.bucket_mb=0.001 ";
  for (const std::string precision : {"float32", "float16"}) {
    const std::string options = sharded + "--set precision=" + precision;
    std::string first;
    for (const int n : {1, 2, 4}) {
      const std::string run = "sharded_" + precision + std::to_string(n);
      const Ended ended = train(n, run, options);
      EXPECT_EQ(ended.status, 0) << ended.output;
      if (n == 1) first = checkpoint(run);
      ASSERT_FALSE(checkpoint(run).empty());
      EXPECT_EQ(checkpoint(run), first) << run;
    }
    const std::string run = "sharded_shared_" + precision;
    expect_way(train(2, run, options, "LOCKSTEP_HOST_DEVICES=1"), run,
               "MPI tree through host memory (several ranks share a GPU)");
    EXPECT_EQ(checkpoint(run), first);
  }
}

TEST_F(NcclTraining, GradientsAsBFloat16) {
  const std::string options = "--set batch.wire=bfloat16 --set batch.error_feedback=true";
  std::string first;
  for (const int n : {1, 2, 4}) {
    const std::string run = "wire" + std::to_string(n);
    const Ended ended = train(n, run, options);
    EXPECT_EQ(ended.status, 0) << ended.output;
    if (n == 1) first = checkpoint(run);
    ASSERT_FALSE(checkpoint(run).empty());
    EXPECT_EQ(checkpoint(run), first) << run;
  }
  expect_way(train(2, "wire_shared", options, "LOCKSTEP_HOST_DEVICES=1"), "wire_shared",
             "MPI tree of bfloat16 through host memory (several ranks share a GPU)");
  EXPECT_EQ(checkpoint("wire_shared"), first);
}

TEST_F(NcclTraining, Native) {
  const Ended ended = train(2, "native", "--set batch.reduction=native");
  expect_way(ended, "native", "NCCL 2.28.9 native");
}

TEST_F(NcclTraining, SharedGpusGoThroughTheHost) {
  const Ended ended = train(2, "shared", "", "LOCKSTEP_HOST_DEVICES=1");
  expect_way(ended, "shared", "MPI tree through host memory (several ranks share a GPU)");
  EXPECT_EQ(checkpoint("shared"), checkpoint("reference"));
}

TEST_F(NcclTraining, OneRankWithoutTheLibraryTakesAllThroughTheHost) {
  const Ended ended =
      run_shell(std::string(LOCKSTEP_MPIEXEC) + " -n 1 " + command("one_without", "") +
                " : -n 1 env LOCKSTEP_NCCL_LIBRARY=/nowhere/libnccl.so.2 " + command("one_without", ""));
  expect_way(ended, "one_without", "MPI tree through host memory (rank 1: /nowhere/libnccl.so.2: ");
  EXPECT_NE(ended.output.find("set LOCKSTEP_NCCL_LIBRARY"), std::string::npos) << ended.output;
  EXPECT_EQ(checkpoint("one_without"), checkpoint("reference"));
}

TEST_F(NcclTraining, TheEnvironmentChoosesTheHost) {
  const Ended ended = train(2, "none", "", "LOCKSTEP_NCCL_LIBRARY=none");
  expect_way(ended, "none", "MPI tree through host memory (rank 0: LOCKSTEP_NCCL_LIBRARY says none)");
}

TEST_F(NcclTraining, ACallThatFailsEndsAllRanks) {
  for (const char* n : {"1", "9"}) {  // while ranks connect; in a step
    const std::string run = std::string("call_fails_") + n;
    expect_error(train(2, run, "", std::string("LOCKSTEP_HOST_NCCL_FAILS=1:call:") + n),
                 "ncclGroupEnd failed: unhandled system error: the cable is out");
    EXPECT_TRUE(checkpoint(run).empty());
  }
}

TEST_F(NcclTraining, SubmittedWorkThatFailsEndsAllRanks) {
  for (const char* how : {"later", "hang"}) {  // the second can only be told by the watch
    const std::string run = std::string("work_fails_") + how;
    const Ended ended = train(2, run, "", std::string("LOCKSTEP_HOST_NCCL_FAILS=1:") + how + ":9");
    expect_error(ended, "the reduction by NCCL failed: remote process exited or there was a network error");
    EXPECT_NE(ended.output.find("lockstep: rank 1 on "), std::string::npos) << ended.output;
    EXPECT_TRUE(checkpoint(run).empty());
  }
}

}  // namespace
}  // namespace lockstep
