// The first promise: one job, the same bits on any number of ranks, also when it is stopped,
// killed and resumed on other numbers in the middle of an epoch.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

constexpr int64_t kSteps = 380;  // 20 epochs of ceil(300 / 16) = 19

class Exactness : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended = lockstep_on(1, place_->train("reference"));
    ASSERT_EQ(ended.status, 0) << ended.output;
    ASSERT_FALSE(reference().empty());
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }
  static std::string reference() { return read_file(place_->checkpoint("reference", kSteps)); }
  /// Whether the run's last checkpoint has the reference's bytes.
  static testing::AssertionResult equals_reference(const std::string& run) {
    const std::string mine = read_file(place_->checkpoint(run, kSteps));
    if (mine.empty()) return testing::AssertionFailure() << run << " has no last checkpoint";
    if (mine == reference()) return testing::AssertionSuccess();
    return testing::AssertionFailure() << run << " differs from the reference";
  }
  /// Waits until a run has written a checkpoint of a step >= `step`; gives up after 60 s.
  static bool wait_for_step(const std::string& run, int64_t step) {
    for (int i = 0; i < 12000; ++i) {
      std::error_code error;
      for (const auto& entry :
           std::filesystem::directory_iterator(place_->file(run + "/checkpoints"), error)) {
        const std::string name = entry.path().filename();
        if (name.starts_with("step-") && std::stoll(name.substr(5)) >= step) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  /// Starts a long run in the background, waits for a checkpoint in its second epoch, and
  /// sends `signal` to one of its ranks. Returns how mpirun ended.
  static Ended interrupt(int n_ranks, const std::string& run, const std::string& signal) {
    Ended ended;
    std::thread background([&] { ended = lockstep_on(n_ranks, place_->train(run)); });
    const bool reached = wait_for_step(run, 21);
    // The newest process of this run is a rank, not mpirun or the shell around it.
    const Ended kill = run_shell("pkill -" + signal + " -n -f '^[^ ]*lockstep [t]rain .*/" + run + "( |$)'");
    background.join();
    EXPECT_TRUE(reached) << ended.output;
    EXPECT_EQ(kill.status, 0) << "no rank was there to receive the signal";
    return ended;
  }
  static Workplace* place_;
};
Workplace* Exactness::place_ = nullptr;

TEST_F(Exactness, RankCountsGiveEqualBytes) {
  for (int n : {2, 4, 8}) {
    const std::string run = "ranks" + std::to_string(n);
    const Ended ended = lockstep_on(n, place_->train(run));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_TRUE(equals_reference(run));
  }
}

TEST_F(Exactness, TheCheckIsAbleToFail) {
  const Ended ended = lockstep_on(2, place_->train("other_seed") + "--set seed=4");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_FALSE(equals_reference("other_seed"));
}

TEST_F(Exactness, ResumeOnOtherRankCountsInTheMiddleOfAnEpoch) {
  // Checkpoints fall on steps 7, 14, 19, 21 …: none but the epoch's ends are epoch borders.
  for (const auto& [n, step] : {std::pair{2, 7}, std::pair{8, 21}, std::pair{1, 70}}) {
    const std::string run = "resumed_from_" + std::to_string(step);
    std::filesystem::create_directories(place_->file(run + "/checkpoints"));
    std::filesystem::copy(place_->checkpoint("reference", step), place_->checkpoint(run, step));
    const Ended ended = lockstep_on(n, place_->train(run) + "--resume auto");
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_NE(ended.output.find("resumed at step " + std::to_string(step)), std::string::npos)
        << ended.output;
    EXPECT_TRUE(equals_reference(run));
  }
}

TEST_F(Exactness, AugmentedImagesHangOnNoRankAndNoResume) {
  const std::string list =
      "--set train.epochs=3 --set 'data.augment=[{random_crop: 1}, {affine: {degrees: 20}}, {gaussian_noise: "
      "0.5}]'";
  constexpr int64_t kEnd = 57;
  const auto last = [](const std::string& run) { return read_file(place_->checkpoint(run, kEnd)); };
  for (int n : {1, 2, 4}) {
    const std::string run = "augmented" + std::to_string(n);
    const Ended ended = lockstep_on(n, place_->train(run) + list);
    ASSERT_EQ(ended.status, 0) << ended.output;
    ASSERT_FALSE(last(run).empty());
    EXPECT_TRUE(last(run) == last("augmented1")) << n << " ranks";
  }
  std::filesystem::create_directories(place_->file("augmented_resumed/checkpoints"));
  std::filesystem::copy(place_->checkpoint("augmented1", 28), place_->checkpoint("augmented_resumed", 28));
  const Ended ended = lockstep_on(2, place_->train("augmented_resumed") + list + " --resume auto");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(last("augmented_resumed") == last("augmented1")) << "resumed in the middle of the second epoch";
}

TEST_F(Exactness, KilledRankAndResume) {
  const Ended ended = interrupt(2, "killed", "KILL");
  EXPECT_NE(ended.status, 0) << ended.output;
  EXPECT_LT(ended.time_s, 90);
  EXPECT_FALSE(std::filesystem::exists(place_->checkpoint("killed", kSteps)));
  const Ended resumed = lockstep_on(4, place_->train("killed") + "--resume auto");
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_TRUE(equals_reference("killed"));
}

TEST_F(Exactness, StopSignalToOneRankStopsAllWithACheckpoint) {
  for (const char* signal : {"TERM", "USR1"}) {
    const std::string run = std::string("stopped_") + signal;
    const Ended ended = interrupt(2, run, signal);
    EXPECT_EQ(ended.status, 85) << ended.output;
    EXPECT_NE(ended.output.find("stopped by a signal"), std::string::npos) << ended.output;
    const Ended resumed = lockstep_on(1, place_->train(run) + "--resume auto");
    ASSERT_EQ(resumed.status, 0) << resumed.output;
    EXPECT_TRUE(equals_reference(run));
  }
}

TEST_F(Exactness, BucketsPrefetchAndCacheDoNotMatter) {
  const Ended ended = lockstep_on(2, place_->train("knobs") +
                                         "--set batch.bucket_mb=0.001 --set batch.first_bucket_mb=0.0001 "
                                         "--set data.prefetch=1 --set data.cache_mb=0");
  ASSERT_EQ(ended.status, 0) << ended.output;
  // The job text differs, so the files do; the tensors must not.
  const Ended diff = run_shell("h5diff -r " + place_->checkpoint("knobs", kSteps) + " " +
                               place_->checkpoint("reference", kSteps) + " /parameters");
  if (diff.status == 127) GTEST_SKIP() << "h5diff (hdf5-tools) is not installed";
  EXPECT_EQ(diff.status, 0) << diff.output;
}

TEST_F(Exactness, ShardedOptimizerStateHasTheSameBits) {
  const std::string small_buckets = "--set batch.bucket_mb=0.001 --set batch.first_bucket_mb=0.0001 ";
  const std::string sharded = "--set batch.shard_optimizer=true ";
  std::string first;
  for (int n : {1, 2, 4, 8}) {
    const std::string run = "sharded" + std::to_string(n);
    const Ended ended = lockstep_on(n, place_->train(run) + sharded + small_buckets);
    ASSERT_EQ(ended.status, 0) << ended.output;
    const std::string file = read_file(place_->checkpoint(run, kSteps));
    ASSERT_FALSE(file.empty());
    if (n == 1) first = file;
    EXPECT_TRUE(file == first) << n << " ranks";
  }
  // A file does not know how the state was cut: other rank counts take it up, sharded or not.
  for (const auto& [n, step] : {std::pair{4, 7}, std::pair{2, 21}, std::pair{1, 70}}) {
    const std::string run = "resharded_from_" + std::to_string(step);
    std::filesystem::create_directories(place_->file(run + "/checkpoints"));
    std::filesystem::copy(place_->checkpoint("sharded8", step), place_->checkpoint(run, step));
    const Ended ended =
        lockstep_on(n, place_->train(run) + (n == 2 ? "" : sharded) + small_buckets + "--resume auto");
    ASSERT_EQ(ended.status, 0) << ended.output;
    if (n != 2) {
      EXPECT_TRUE(read_file(place_->checkpoint(run, kSteps)) == first) << run;
    }
  }
  if (run_shell("command -v h5diff").status != 0) GTEST_SKIP() << "h5diff (hdf5-tools) is not installed";
  for (const char* run : {"sharded4", "resharded_from_21"}) {
    for (const char* group : {"/parameters", "/optimizer", "/buffers"}) {
      const Ended diff = run_shell("h5diff -r " + place_->checkpoint(run, kSteps) + " " +
                                   place_->checkpoint("reference", kSteps) + " " + group);
      EXPECT_EQ(diff.status, 0) << run << group << diff.output;
    }
  }
}

TEST_F(Exactness, GradientsAsBFloat16HaveTheSameBitsOnAnyRanks) {
  const std::string wire =
      "--set batch.wire=bfloat16 --set batch.error_feedback=true --set batch.bucket_mb=0.001 ";
  std::string first;
  for (int n : {1, 2, 8}) {
    const std::string run = "wire" + std::to_string(n);
    const Ended ended = lockstep_on(n, place_->train(run) + wire);
    ASSERT_EQ(ended.status, 0) << ended.output;
    const std::string file = read_file(place_->checkpoint(run, kSteps));
    ASSERT_FALSE(file.empty());
    if (n == 1) first = file;
    EXPECT_TRUE(file == first) << n << " ranks";
  }
  std::filesystem::create_directories(place_->file("wire_resumed/checkpoints"));
  std::filesystem::copy(place_->checkpoint("wire8", 21), place_->checkpoint("wire_resumed", 21));
  const Ended ended = lockstep_on(4, place_->train("wire_resumed") + wire + "--resume auto");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(read_file(place_->checkpoint("wire_resumed", kSteps)) == first) << "residuals were lost";
}

TEST_F(Exactness, H5diffSeesNoDifference) {
  if (run_shell("command -v h5diff").status != 0) GTEST_SKIP() << "h5diff (hdf5-tools) is not installed";
  const Ended ended = lockstep_on(2, place_->train("h5diff"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(run_shell("h5diff " + place_->checkpoint("h5diff", kSteps) + " " +
                      place_->checkpoint("reference", kSteps))
                .status,
            0);
  EXPECT_NE(
      run_shell("h5diff " + place_->checkpoint("h5diff", 7) + " " + place_->checkpoint("reference", kSteps))
          .status,
      0);
}

}  // namespace
}  // namespace lockstep
