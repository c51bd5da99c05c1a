// Bad input: one clear message with a remedy, a non-zero status on all ranks within seconds,
// no hang, nothing lost.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class BadInput : public testing::Test {
 protected:
  static void SetUpTestSuite() { place_ = new Workplace; }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }

  /// Trains on two ranks with further words; expects a prompt failure that says each of
  /// `parts`, once and not per rank.
  void expect_refused(const std::string& words, const std::vector<std::string>& parts, int n_ranks = 2) {
    const Ended ended = lockstep_on(n_ranks, place_->train("refused") + words);
    EXPECT_NE(ended.status, 0) << words;
    EXPECT_NE(ended.status, 124) << "hung: " << words;
    EXPECT_LT(ended.time_s, 60) << words;
    for (const std::string& part : parts) {
      EXPECT_NE(ended.output.find(part), std::string::npos) << words << "\nlacks: " << part << "\n"
                                                            << ended.output;
    }
    EXPECT_EQ(count(ended.output, "lockstep: "), 1) << ended.output;
    EXPECT_NE(ended.output.find("remedy: "), std::string::npos) << ended.output;
    EXPECT_TRUE(!fs::exists(place_->file("refused/checkpoints")) ||
                fs::is_empty(place_->file("refused/checkpoints")));
  }
  /// A copy of the training data under a new name, to be damaged.
  std::string copy_data(const std::string& name) {
    const std::string folder = place_->file("data/" + name);
    fs::remove_all(folder);
    fs::copy(place_->file("data/train"), folder, fs::copy_options::recursive);
    return folder;
  }
  static std::string first_shard(const std::string& folder) { return folder + "/shard-00000.h5"; }
  static Workplace* place_;
};
Workplace* BadInput::place_ = nullptr;

TEST_F(BadInput, UnknownKeyNamesTheNearestWithFileAndLine) {
  write_file(place_->file("typo.yaml"),
             "name: typo\n" + read_file(place_->job()).substr(12) + "\noptimiser: {sgd: {lr: 1}}\n");
  const Ended ended = lockstep_on(2, "train " + place_->file("typo.yaml"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.output.find("typo.yaml:"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("did you mean 'optimizer'?"), std::string::npos) << ended.output;
  EXPECT_EQ(count(ended.output, "did you mean"), 1) << ended.output;
}

TEST_F(BadInput, JobMistakes) {
  expect_refused("--set batch.global=many", {"batch.global", "a whole number"});
  expect_refused("--set batch.global=17", {"not divisible", "16, 18"});
  expect_refused("--set batch.global=24", {"power of two", "16, 32"});
  expect_refused("--set optimizer.sgd.momentun=0.9", {"momentun", "did you mean 'momentum'?"});
  expect_refused("--set 'model={zoo: lenet6}'", {"lenet6", "did you mean 'lenet5'?"});
}

TEST_F(BadInput, ShapesThatDoNotFitNameTheTwoLayers) {
  expect_refused("--set 'model={layers: [{conv: {channels: 4, kernel: 9}}, flatten, {affine: 10}]}'",
                 {"'conv1'", "'input'", "does not fit"});
  expect_refused("--set 'model={layers: [{affine: 10}]}'", {"'affine1'", "'input'", "flatten"});
}

TEST_F(BadInput, RankCountsThatDoNotDivide) {
  expect_refused("", {"3 ranks", "power-of-two", "2 or 4"}, 3);
  expect_refused("--set batch.global=4", {"4 ranks", "2 micro-batches"}, 4);
}

TEST_F(BadInput, MissingAndEmptyData) {
  expect_refused("--set data.train.path=" + place_->file("nowhere"), {"nowhere"});
  fs::create_directories(place_->file("data/empty"));
  expect_refused("--set data.train.path=" + place_->file("data/empty"), {"data/empty"});
  expect_refused("--set data.train.input=picture", {"picture", "image"});
}

TEST_F(BadInput, DamagedShards) {
  std::string folder = copy_data("truncated");
  fs::resize_file(first_shard(folder), fs::file_size(first_shard(folder)) / 2);
  expect_refused("--set data.train.path=" + folder, {"shard-00000.h5"});
  folder = copy_data("zero");
  fs::resize_file(first_shard(folder), 0);
  expect_refused("--set data.train.path=" + folder, {"shard-00000.h5"});
  folder = copy_data("flipped");
  flip_bit(first_shard(folder), read_file(first_shard(folder)).size() / 2);
  expect_refused("--set data.train.path=" + folder, {"shard-00000.h5", "wrong checksum"});
  folder = copy_data("shapes");
  write_hdf5(folder + "/shard-00002.h5", {{"image", {2, 1, 4, 4}, "uint8", std::vector<double>(32, 1.0)},
                                          {"label", {2}, "int64", {0, 1}}});
  expect_refused("--set data.train.path=" + folder, {"shard-00002.h5"});
}

TEST_F(BadInput, LabelOutsideTheClasses) {
  const std::string folder = place_->file("data/labels");
  fs::create_directories(folder);
  std::vector<double> labels(64, 1.0);
  labels[63] = 10;
  write_hdf5(folder + "/a.h5", {{"image", {64, 1, 8, 8}, "uint8", std::vector<double>(64 * 64, 3.0)},
                                {"label", {64}, "int64", labels}});
  const Ended ended =
      lockstep_on(2, place_->train("labels") + "--set model.classes=10 --set data.train.path=" + folder);
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("63"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("10"), std::string::npos) << ended.output;
  EXPECT_LT(ended.time_s, 60);
}

TEST_F(BadInput, DamagedCheckpointIsRefusedOrPassedOver) {
  ASSERT_EQ(lockstep_on(2, place_->train("damaged") + "--set train.epochs=2").status, 0);
  const std::string newest = place_->checkpoint("damaged", 38), before = place_->checkpoint("damaged", 35);
  ASSERT_TRUE(fs::exists(newest) && fs::exists(before));
  flip_bit(newest, fs::file_size(newest) / 2);

  const Ended verify = lockstep("verify " + newest);
  EXPECT_EQ(verify.status, 1) << verify.output;
  EXPECT_NE(verify.output.find("DAMAGED"), std::string::npos) << verify.output;
  const Ended named = lockstep_on(2, place_->train("damaged") + "--set train.epochs=3 --resume " + newest);
  EXPECT_EQ(named.status, 1) << named.output;
  EXPECT_NE(named.output.find("damaged"), std::string::npos) << named.output;
  const Ended automatic = lockstep_on(2, place_->train("damaged") + "--set train.epochs=3 --resume auto");
  EXPECT_EQ(automatic.status, 0) << automatic.output;
  EXPECT_NE(automatic.output.find("falling back"), std::string::npos) << automatic.output;
  EXPECT_NE(automatic.output.find("resumed at step 35"), std::string::npos) << automatic.output;
  EXPECT_TRUE(fs::exists(newest + ".damaged")) << "it would count among the newest that are kept";
}

TEST_F(BadInput, AnotherRunIsNotOverwritten) {
  ASSERT_EQ(lockstep_on(1, place_->train("precious") + "--set train.epochs=1").status, 0);
  const std::string before = read_file(place_->checkpoint("precious", 19));
  const Ended again = lockstep_on(2, place_->train("precious") + "--set train.epochs=1 --set seed=9");
  EXPECT_EQ(again.status, 1) << again.output;
  EXPECT_NE(again.output.find("--resume auto"), std::string::npos) << again.output;
  EXPECT_TRUE(read_file(place_->checkpoint("precious", 19)) == before);
}

TEST_F(BadInput, FullDiskWhileCheckpointing) {
  const std::string disk = place_->file("disk");
  fs::create_directories(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "no permission to mount a small tmpfs";
  const Ended ended = lockstep_on(2, place_->train("disk/run"));
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("CHECKPOINT NOT SAVED"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("step 380: training has ended, but its last state is not on the disk"),
            std::string::npos)
      << ended.output;
  // No run begins that could not save anything.
  const Ended refused = lockstep_on(2, place_->train("disk/other"));
  EXPECT_EQ(refused.status, 1) << refused.output;
  EXPECT_NE(refused.output.find("of disk space"), std::string::npos) << refused.output;
  EXPECT_EQ(refused.output.find("step 1"), std::string::npos) << refused.output;
  // What was saved before the disk was full is whole.
  const Ended verify = lockstep("verify " + place_->file("disk/run"));
  EXPECT_EQ(verify.status, 0) << verify.output;
  umount(disk.c_str());
}

TEST_F(BadInput, CommandLine) {
  const Ended command = lockstep("trian job.yaml");
  EXPECT_EQ(command.status, 2);
  EXPECT_NE(command.output.find("did you mean 'train'?"), std::string::npos) << command.output;
  const Ended option = lockstep_on(2, "train " + place_->job() + " --resum auto");
  EXPECT_EQ(option.status, 2) << option.output;
  EXPECT_EQ(count(option.output, "did you mean --resume?"), 1) << option.output;
  EXPECT_EQ(lockstep("evaluate").status, 2);
  EXPECT_EQ(lockstep("inspect " + place_->file("nothing")).status, 1);
}

}  // namespace
}  // namespace lockstep
