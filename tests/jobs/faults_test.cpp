// A rank that is killed or stopped in mid-run: the others name it, save what they hold, and end; the run goes
// on from there, on another number of ranks, and ends with the bits of one that nobody disturbed.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <regex>
#include <thread>

#include "io/checkpoint/checkpoint.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSteps = 380;  // 20 epochs of ceil(300 / 16) = 19

/// The process of a rank of `mpirun … RUN …`; 0 if there is none.
pid_t process_of_rank(const std::string& run, int rank) {
  const std::string variable = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = read_file("/proc/" + name + "/cmdline");
    if (words.find(run + '\0') == std::string::npos || words.find("mpi") == 0) continue;
    const std::string environment = '\0' + read_file("/proc/" + name + "/environ");
    if (environment.find('\0' + variable + '\0') != std::string::npos) return std::stoi(name);
  }
  return 0;
}

class Faults : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended = lockstep_on(1, place_->train("calm"));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }

  struct Fault {
    Ended ended;
    std::string process;  // of the victim
  };
  /// Trains on n ranks and sends a signal to one of them in the second epoch or later. mpirun gives the
  /// others more time than usual, for machines that are busy.
  static Fault disturb(int n_ranks, int victim, int signal, const std::string& run,
                       const std::string& options = "") {
    Fault fault;
    std::thread background([&] {
      fault.ended = run_shell("env OMPI_MCA_odls_base_sigkill_timeout=2 " +
                              lockstep_command(n_ranks, place_->train(run) + options));
    });
    const std::string folder = place_->file(run + "/checkpoints");
    for (int i = 0; i < 12000 && list_checkpoints(folder).size() < 4; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const pid_t process = process_of_rank(place_->file(run), victim);
    EXPECT_GT(process, 0);
    if (process > 0) kill(process, signal);
    background.join();
    fault.process = std::to_string(process);
    return fault;
  }
  static bool says(const Fault& fault, const std::string& pattern) {
    return std::regex_search(fault.ended.output, std::regex(pattern));
  }
  /// All but the text of the job, which may have had other options.
  static void expect_equal_state(const std::string& path, const std::string& calm) {
    EXPECT_EQ(read_checkpoint_info(path).numbers, read_checkpoint_info(calm).numbers) << path;
    const std::vector<CheckpointEntry> a = list_checkpoint(path), b = list_checkpoint(calm);
    ASSERT_EQ(a.size(), b.size()) << path;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].checksum, b[i].checksum) << path << " " << a[i].name;
    EXPECT_EQ(verify_checkpoint(path), std::vector<std::string>());
  }
  /// Resumes on n ranks; whether the checkpoints of both runs hold the same where their steps are equal, and
  /// the last is there.
  static void expect_calm_end(int n_ranks, const std::string& run) {
    const Ended ended = lockstep_on(n_ranks, place_->train(run) + "--resume auto");
    ASSERT_EQ(ended.status, 0) << ended.output;
    int n_compared = 0;
    for (const std::string& path : list_checkpoints(place_->file(run + "/checkpoints"))) {
      const std::string calm = place_->checkpoint("calm", checkpoint_step(path));
      if (!fs::exists(calm)) continue;  // an emergency checkpoint of another step
      expect_equal_state(path, calm);
      ++n_compared;
    }
    EXPECT_GT(n_compared, 20);
    EXPECT_TRUE(fs::exists(place_->checkpoint(run, kSteps)));
    EXPECT_TRUE(list_temporary_files(place_->file(run + "/checkpoints")).empty());
  }
  static Workplace* place_;
};
Workplace* Faults::place_ = nullptr;

struct Kill {
  int n_ranks, victim, n_ranks_after;
};
class KilledRank : public Faults, public testing::WithParamInterface<Kill> {};

TEST_P(KilledRank, IsNamedAndTheOthersSave) {
  const Kill kill = GetParam();
  const std::string run = "killed-" + std::to_string(kill.n_ranks) + "-" + std::to_string(kill.victim);
  const Fault fault = disturb(kill.n_ranks, kill.victim, SIGKILL, run);
  EXPECT_NE(fault.ended.status, 0);
  EXPECT_NE(fault.ended.status, 124) << "ended by the time limit";
  EXPECT_TRUE(says(fault, "lockstep: RANK LOST: rank " + std::to_string(kill.victim) + " on [^ ]+, pid " +
                              fault.process + ": its process has ended"))
      << fault.ended.output;
  EXPECT_EQ(count(fault.ended.output, "RANK LOST"), 1) << fault.ended.output;
  EXPECT_TRUE(says(fault, "\n  now rank.* at \".*\" of step [0-9]+")) << fault.ended.output;
  EXPECT_TRUE(says(fault, "lockstep: emergency checkpoint of step [0-9]+: .*go on with --resume auto"))
      << fault.ended.output;
  expect_calm_end(kill.n_ranks_after, run);
}
INSTANTIATE_TEST_SUITE_P(Ranks, KilledRank,
                         testing::Values(Kill{2, 0, 1}, Kill{2, 1, 4}, Kill{4, 0, 2}, Kill{4, 3, 4}));

TEST_F(Faults, AStoppedRankIsNamedAndTheOthersSave) {
  const Fault fault = disturb(2, 1, SIGSTOP, "stopped", "--set watchdog.silent_s=5");
  EXPECT_EQ(fault.ended.status, 86) << fault.ended.output;
  EXPECT_TRUE(says(fault, "RANK LOST: rank 1 on [^ ]+, pid " + fault.process + ": its process is stopped"))
      << fault.ended.output;
  EXPECT_TRUE(says(fault, "lockstep: emergency checkpoint of step [0-9]+")) << fault.ended.output;
  expect_calm_end(4, "stopped");
}

TEST_F(Faults, AStoppedRootIsNamedByTheNextRank) {
  const Fault fault = disturb(2, 0, SIGSTOP, "stopped-root", "--set watchdog.silent_s=5");
  EXPECT_EQ(fault.ended.status, 86) << fault.ended.output;
  EXPECT_TRUE(says(fault, "RANK LOST: rank 0 on [^ ]+, pid " + fault.process + ": its process is stopped"))
      << fault.ended.output;
  expect_calm_end(1, "stopped-root");
}

TEST_F(Faults, WithoutEmergencyCheckpointsTheLastOneIsNamed) {
  const Fault fault = disturb(2, 1, SIGKILL, "no-emergency", "--set watchdog.emergency_checkpoint=false");
  EXPECT_TRUE(says(fault,
                   "no emergency checkpoint: watchdog.emergency_checkpoint is false; the last checkpoint "
                   "is .*step-[0-9]+.h5; go on with --resume auto"))
      << fault.ended.output;
  expect_calm_end(2, "no-emergency");
}

TEST_F(Faults, ShardedOptimizerStateIsNotSavedByOneRank) {
  const Fault fault = disturb(2, 1, SIGKILL, "sharded", "--set batch.shard_optimizer=true");
  EXPECT_TRUE(says(fault, "RANK LOST: rank 1")) << fault.ended.output;
  EXPECT_TRUE(says(fault, "no emergency checkpoint: batch.shard_optimizer is on.*; the last checkpoint is"))
      << fault.ended.output;
}

TEST_F(Faults, AnErrorOfOneRankIsPrintedAndTheOthersSave) {
  fs::copy(place_->file("data/train"), place_->file("cut"));
  Ended ended;
  std::thread background([&] {
    ended = lockstep_on(2, place_->train("cut-run") + "--set data.train.path=" + place_->file("cut") +
                               " --set data.cache_mb=0 --set train.epochs=2000");
  });
  for (int i = 0; i < 12000 && list_checkpoints(place_->file("cut-run/checkpoints")).size() < 4; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (const auto& entry : fs::directory_iterator(place_->file("cut")))
    fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  background.join();
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(ended.status, 124) << "ended by the time limit";
  EXPECT_NE(ended.output.find("cannot be read"), std::string::npos) << ended.output;
}

TEST_F(Faults, TheWatchdogCanBeOff) {
  const Fault fault = disturb(2, 1, SIGKILL, "unwatched", "--set watchdog.silent_s=0");
  EXPECT_NE(fault.ended.status, 0);
  EXPECT_EQ(count(fault.ended.output, "RANK LOST"), 0) << fault.ended.output;
  const Ended refused = lockstep("train " + place_->job() + " --set watchdog.silent_s=2");
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("must be at least 5"), std::string::npos) << refused.output;
}

TEST_F(Faults, AProgramOfItsOwnIsToldOfALostRank) {
  write_file(place_->file("lost.yaml"), read_file(place_->job()));
  const std::string told = place_->file("told"), run = place_->file("lost");
  run_shell("env OMPI_MCA_odls_base_sigkill_timeout=2 " + std::string(LOCKSTEP_MPIEXEC) + " -n 2 " +
            LOCKSTEP_LOST_RANK_PROGRAM + " " + place_->file("lost.yaml") + " " + run + " " + told);
  ASSERT_TRUE(fs::exists(told));
  EXPECT_EQ(read_file(told), "86");  // the status that `lockstep train` ends with
  const std::vector<std::string> saved = list_checkpoints(run + "/checkpoints");
  ASSERT_FALSE(saved.empty());
  EXPECT_EQ(fs::path(saved.back()).filename(), checkpoint_file_name(8));  // all that both ranks had done
  const Ended ended = lockstep_on(1, "train " + place_->file("lost.yaml") + " --out " + run + " --resume auto");
  EXPECT_EQ(ended.status, 0) << ended.output;
}

}  // namespace
}  // namespace lockstep
