// A program that splits its four ranks in two and trains a job on each half at the same time: the bits of
// each are those of its job alone, and where one job fails the other goes on.
#include <gtest/gtest.h>
#include <mpi.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "src/run/train.h"
#include "tests/src/expect_error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class SubCommunicator : public testing::Test {
 protected:
  void SetUp() override {
    std::string path;
    if (world_.is_root()) {
      folder_ = std::make_unique<TemporaryFolder>();
      path = folder_->path();
      FixtureField input{"input", {64, 5}, "float32", {}}, target{"target", {64}, "int64", {}};
      for (int i = 0; i < 64 * 5; ++i)
        input.values.push_back((i * 37 % 23 - 11) / 8.0 + (i % 5 == i / 5 % 3));
      for (int i = 0; i < 64; ++i) target.values.push_back(i % 3);
      write_hdf5(path + "/data.h5", {input, target});
    }
    path_ = world_.broadcast_string(path);
    MPI_Comm_split(MPI_COMM_WORLD, half_, world_.rank(), &comm_);
  }
  void TearDown() override {
    MPI_Comm_free(&comm_);
    world_.barrier();
  }

  /// The two halves' jobs differ in everything that a mix-up would show by.
  Value job(int half) const {
    return {{"name", half == 0 ? "first" : "second"},
            {"seed", half + 3},
            {"model", {{"zoo", "mlp"}, {"classes", 3}, {"hidden", std::vector<int>{half == 0 ? 8 : 13}}}},
            {"data", {{"train", path_ + "/data.h5"}, {"validation", path_ + "/data.h5"}}},
            {"batch", {{"global", 16}, {"micro", 4}}},
            {"optimizer", {{"sgd", {{"lr", 0.1}, {"momentum", 0.9}}}}},
            {"train", {{"epochs", half == 0 ? 3 : 4}}},
            {"device", "cpu"}};
  }
  RunResult train_in(Communicator& comm, int half, const std::string& folder) const {
    return train(make_job(job(half)), comm, {.out = path_ + "/" + folder});
  }

  Communicator world_ = Communicator::world();
  std::unique_ptr<TemporaryFolder> folder_;
  std::string path_;
  const int half_ = world_.rank() / 2;
  MPI_Comm comm_ = MPI_COMM_NULL;
};

TEST_F(SubCommunicator, TrainsTwoJobsAtOnce) {
  ASSERT_EQ(world_.size(), 4);
  const std::string name = half_ == 0 ? "first" : "second";
  RunResult together;
  {
    Communicator comm = Communicator::of(&comm_);
    ASSERT_EQ(comm.size(), 2);
    together = train_in(comm, half_, name);
  }
  EXPECT_EQ(together.step, half_ == 0 ? 12 : 16);
  if (world_.rank() % 2 == 0) {
    Communicator alone = Communicator::self();
    train_in(alone, half_, name + "-alone");
    const std::string file = half_ == 0 ? "step-000000012.h5" : "step-000000016.h5";
    const std::string bytes = bytes_of(path_ + "/" + name + "/checkpoints/" + file);
    EXPECT_FALSE(bytes.empty());
    EXPECT_TRUE(bytes == bytes_of(path_ + "/" + name + "-alone/checkpoints/" + file)) << name;
  }
}

TEST_F(SubCommunicator, AnErrorStaysAmongTheRanksOfItsJob) {
  Communicator comm = Communicator::of(&comm_);
  if (half_ == 0) {
    Value wrong = job(0);
    wrong["data"]["train"] = path_ + "/absent.h5";
    expect_error([&] { train(make_job(wrong), comm, {.out = path_ + "/wrong"}); }, {"absent.h5"});
  }
  EXPECT_EQ(train_in(comm, half_, half_ == 0 ? "right" : "other").step, half_ == 0 ? 12 : 16);
}

}  // namespace
}  // namespace lockstep
