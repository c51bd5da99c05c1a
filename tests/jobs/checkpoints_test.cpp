// The checkpoints of runs as users see them: written beside training or not, how many stay, verify of
// folders, and repair after damage.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/checkpoint/checkpoint.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class Checkpoints : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended = lockstep_on(2, place_->train("run") + "--set train.epochs=2");
    ASSERT_EQ(ended.status, 0) << ended.output;
    ASSERT_EQ(steps("run"), (std::vector<int64_t>{7, 14, 19, 21, 28, 35, 38}));
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }
  static std::string folder(const std::string& run) { return place_->file(run + "/checkpoints"); }
  static std::vector<int64_t> steps(const std::string& run) {
    std::vector<int64_t> steps;
    for (const std::string& path : list_checkpoints(folder(run))) steps.push_back(checkpoint_step(path));
    return steps;
  }
  /// A copy of the run, for a test to damage.
  static std::string copy_of_run(const std::string& name) {
    fs::copy(place_->file("run"), place_->file(name),
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    return name;
  }
  static void damage(const std::string& path) {
    const std::string bytes = read_file(path);
    std::string copy = bytes;
    copy[copy.size() / 2] = static_cast<char>(copy[copy.size() / 2] ^ 4);
    write_file(path, copy);
  }
  static Workplace* place_;
};
Workplace* Checkpoints::place_ = nullptr;

TEST_F(Checkpoints, TrainingThatWaitsWritesTheSameTensors) {
  const Ended ended =
      lockstep_on(2, place_->train("waits") + "--set train.epochs=2 --set checkpoint.asynchronous=false");
  ASSERT_EQ(ended.status, 0) << ended.output;
  ASSERT_EQ(steps("waits"), steps("run"));
  int n_compared = 0;
  for (const int64_t step : steps("run")) {
    const auto a = list_checkpoint(place_->checkpoint("run", step)),
               b = list_checkpoint(place_->checkpoint("waits", step));
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i, ++n_compared) EXPECT_EQ(a[i].checksum, b[i].checksum) << a[i].name;
  }
  EXPECT_GT(n_compared, 50);
  for (const char* run : {"run", "waits"}) {
    const std::string metrics = read_file(place_->file(std::string(run) + "/metrics.jsonl"));
    EXPECT_EQ(count(metrics, "\"kind\": \"checkpoint\""), 7) << metrics;
    EXPECT_EQ(count(metrics, "\"stall_s\""), 7) << metrics;
    EXPECT_EQ(verify_checkpoint(place_->file(std::string(run) + "/checkpoints/last.h5")),
              std::vector<std::string>());
  }
}

TEST_F(Checkpoints, TheLastTheBestAndEveryThirdStay) {
  const Ended ended =
      lockstep_on(2, place_->train("kept") +
                         "--set train.epochs=8 --set checkpoint.every_steps=0 --set checkpoint.keep=2 "
                         "--set checkpoint.keep_every=3");
  ASSERT_EQ(ended.status, 0) << ended.output;
  std::vector<int64_t> wanted{57, 114, 133, 152};  // epochs 3 and 6; 7 and 8
  const int64_t best = linked_checkpoint(folder("kept"), kBestLink);
  ASSERT_GT(best, 0);
  if (std::find(wanted.begin(), wanted.end(), best) == wanted.end()) wanted.push_back(best);
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(steps("kept"), wanted);
  EXPECT_EQ(linked_checkpoint(folder("kept"), kLastLink), 152);
  const Ended refused = lockstep("train " + place_->job() + " --out " + place_->file("refused") +
                                 " --set checkpoint.every_steps=0 --set checkpoint.every_epochs=0 "
                                 "--set checkpoint.keep_every=2");
  EXPECT_EQ(refused.status, 1) << refused.output;
  EXPECT_NE(refused.output.find("set every_epochs or every_steps"), std::string::npos) << refused.output;
}

/// The newest step of any host's copies below a folder; -1 if there is none.
int64_t newest_copy(const std::string& folder) {
  int64_t newest = -1;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    newest = std::max(newest, checkpoint_step(it->path().string()));
  return newest;
}

TEST_F(Checkpoints, AResumeTakesNewerCopiesFromTheHostsOwnDisks) {
  const std::string local = place_->file("own_disk");
  const std::string options =
      "--set checkpoint.every_steps=0 --set checkpoint.every_epochs=20 --set checkpoint.local.folder=" +
      local + " --set checkpoint.local.every_steps=3 ";
  const Ended calm = lockstep_on(1, place_->train("calm") + options);
  ASSERT_EQ(calm.status, 0) << calm.output;
  EXPECT_EQ(newest_copy(local), -1) << "copies of a finished run stay";

  Ended killed;
  std::thread background([&] { killed = lockstep_on(2, place_->train("cut_off") + options); });
  for (int i = 0; i < 12000 && newest_copy(local) < 30; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(run_shell("pkill -KILL -f '^[^ ]*lockstep [t]rain .*/cut_off( |$)'").status, 0);
  background.join();
  EXPECT_NE(killed.status, 0);
  const int64_t newest = newest_copy(local);
  ASSERT_GE(newest, 30);
  for (const std::string& path : list_checkpoints(folder("cut_off"))) {  // best ones; those are older
    if (checkpoint_step(path) >= newest) fs::remove(path);
  }
  const std::string taken = std::to_string(newest);

  const Ended resumed = lockstep_on(4, place_->train("cut_off") + options + "--resume auto");
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_NE(resumed.output.find("step " + taken + " comes from a local copy"), std::string::npos)
      << resumed.output;
  EXPECT_EQ(read_file(place_->checkpoint("cut_off", 380)), read_file(place_->checkpoint("calm", 380)));
  EXPECT_FALSE(read_file(place_->checkpoint("calm", 380)).empty());
}

TEST_F(Checkpoints, VerifyLooksAtAllOfARun) {
  const std::string run = copy_of_run("verified");
  for (const std::string& path : {place_->file(run), folder(run)}) {
    const Ended whole = lockstep("verify " + path);
    EXPECT_EQ(whole.status, 0) << whole.output;
    EXPECT_EQ(count(whole.output, ": whole"), 7) << whole.output;
  }
  damage(place_->checkpoint(run, 19));
  write_file(folder(run) + "/.step-000000040.h5.tmp", "x");
  const Ended damaged = lockstep("verify " + place_->file(run));
  EXPECT_EQ(damaged.status, 1) << damaged.output;
  EXPECT_EQ(count(damaged.output, ": whole"), 6) << damaged.output;
  EXPECT_EQ(count(damaged.output, "DAMAGED"), 1) << damaged.output;
  EXPECT_EQ(count(damaged.output, ".step-000000040.h5.tmp"), 1) << damaged.output;
}

TEST_F(Checkpoints, RepairPutsARunInOrder) {
  const std::string run = copy_of_run("repaired");
  const Ended nothing = lockstep("repair " + place_->file(run));
  EXPECT_EQ(nothing.status, 0) << nothing.output;
  EXPECT_NE(nothing.output.find("nothing to repair"), std::string::npos) << nothing.output;

  const int64_t best = linked_checkpoint(folder(run), kBestLink);
  ASSERT_GE(best, 0);
  damage(place_->checkpoint(run, 38));
  damage(place_->checkpoint(run, 14));
  fs::remove(folder(run) + "/best.h5");
  fs::create_symlink("step-000000099.h5", folder(run) + "/best.h5");
  for (const char* remains : {".step-000000040.h5.tmp", "last.h5.tmp"})
    write_file(folder(run) + "/" + remains, "x");
  const std::string bytes = read_file(place_->checkpoint(run, 38));
  const Ended repaired = lockstep("repair " + place_->file(run));
  EXPECT_EQ(repaired.status, 0) << repaired.output;
  EXPECT_EQ(steps(run), (std::vector<int64_t>{7, 19, 21, 28, 35}));
  EXPECT_TRUE(read_file(place_->checkpoint(run, 38) + ".damaged") == bytes) << "no data is deleted";
  EXPECT_TRUE(fs::exists(place_->checkpoint(run, 14) + ".damaged"));
  EXPECT_TRUE(list_temporary_files(folder(run)).empty());
  EXPECT_EQ(linked_checkpoint(folder(run), kLastLink), 35);
  EXPECT_EQ(linked_checkpoint(folder(run), kBestLink), best == 38 ? 19 : best);
  EXPECT_EQ(count(repaired.output, "renamed step-0"), 2) << repaired.output;

  const Ended again = lockstep("repair " + place_->file(run));
  EXPECT_NE(again.output.find("nothing to repair"), std::string::npos) << again.output;
  const Ended resumed = lockstep_on(2, place_->train(run) + "--set train.epochs=2 --resume auto");
  EXPECT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_NE(resumed.output.find("resumed at step 35"), std::string::npos) << resumed.output;
  EXPECT_EQ(count(resumed.output, "damaged"), 0) << resumed.output;
  EXPECT_TRUE(read_file(place_->checkpoint(run, 38)) == read_file(place_->checkpoint("run", 38)));

  damage(place_->checkpoint(run, 38));  // the name .damaged is taken
  EXPECT_EQ(lockstep("repair " + place_->file(run)).status, 0);
  EXPECT_TRUE(fs::exists(place_->checkpoint(run, 38) + ".damaged.2"));
}

TEST_F(Checkpoints, RepairSaysWhenNothingIsLeft) {
  const std::string run = copy_of_run("lost");
  for (const int64_t step : steps(run)) damage(place_->checkpoint(run, step));
  const Ended ended = lockstep("repair " + place_->file(run));
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("0 whole checkpoints left"), std::string::npos) << ended.output;
  EXPECT_FALSE(fs::is_symlink(folder(run) + "/last.h5"));
  EXPECT_EQ(lockstep("repair " + place_->file("data/train")).status, 1);
  EXPECT_EQ(lockstep("repair --help").status, 0);
}

TEST_F(Checkpoints, BenchPrintsItsMeasurement) {
  const Ended ended =
      lockstep_on(2, "bench checkpoint --size-mib 8 --rounds 1 --step-ms 5 --json --out " + place_->path());
  EXPECT_EQ(ended.status, 0) << ended.output;
  for (const char* key : {"\"ranks\": 2", "\"size_mib\": 8", "checkpoint_mib_per_s", "plain_mib_per_s",
                          "ratio", "stall_share", "lost_share"})
    EXPECT_EQ(count(ended.output, key), 1) << key << "\n" << ended.output;
  EXPECT_FALSE(fs::exists(place_->file(".lockstep-bench-checkpoint")));
}

}  // namespace
}  // namespace lockstep
