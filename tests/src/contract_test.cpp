// What `evaluate` takes from a checkpoint: any file with a right seal may say anything, and is refused by
// name.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "src/job/class_names.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/trained_model.h"
#include "tests/src/expect_error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

const char* const kJob =
    "name: tiny\nmodel: {layers: [flatten, {affine: 3}]}\nbatch: 4\nloss: softmax_cross_entropy\n"
    "optimizer: adam\ntrain: {epochs: 1}\n";

class Contract : public testing::Test {
 protected:
  /// A whole, sealed checkpoint of (1, 2, 2) samples and 3 classes, with what was changed.
  std::string save() {
    std::vector<CheckpointTensor> tensors = {
        {"/parameters/affine1.weight", {3, 4}, DType::kFloat32, values_.data()},
        {"/parameters/affine1.bias", {3}, DType::kFloat32, values_.data()}};
    tensors.insert(tensors.end(), more_.begin(), more_.end());
    std::filesystem::remove(folder_.file(checkpoint_file_name(0)));
    return save_checkpoint_alone(folder_.path(), info_, tensors, 1);
  }
  void SetUp() override {
    info_.job = kJob;
    info_.texts["input_shape"] = "1,2,2";
    info_.numbers["classes"] = 3;
  }
  const TemporaryFolder folder_;
  CheckpointInfo info_;
  std::vector<double> values_ = std::vector<double>(4096, 0.5);
  std::vector<CheckpointTensor> more_;
};

TEST_F(Contract, OfAWholeCheckpoint) {
  more_ = {{"/buffers/input.mean", {1}, DType::kFloat32, values_.data()},
           {"/buffers/input.stddev", {1}, DType::kFloat32, values_.data()}};
  const TrainedModel model = load_model(save());
  EXPECT_EQ(model.contract.input, (Shape{1, 2, 2}));
  EXPECT_EQ(model.contract.normalization.mean.size(), 1u);
}

TEST_F(Contract, NormalisationMustBeOneRowOfFloat32) {
  for (const Shape& shape : {Shape{1, 500}, Shape{}, Shape{2, 2, 2}}) {
    more_ = {{"/buffers/input.mean", shape, DType::kFloat32, values_.data()},
             {"/buffers/input.stddev", shape, DType::kFloat32, values_.data()}};
    expect_error([&] { load_model(save()); }, {"/buffers/input.mean", shape.str(), "one row of float32"});
  }
  more_ = {{"/buffers/input.mean", {3}, DType::kFloat64, values_.data()}};
  expect_error([&] { load_model(save()); }, {"/buffers/input.mean", "float64"});
  more_ = {{"/buffers/input.mean", {3}, DType::kFloat32, values_.data()},
           {"/buffers/input.stddev", {2}, DType::kFloat32, values_.data()}};
  expect_error([&] { load_model(save()); }, {"not equally many"});
  more_ = {{"/buffers/input.stddev", {2}, DType::kFloat32, values_.data()}};
  expect_error([&] { load_model(save()); }, {"not equally many"});
}

TEST_F(Contract, InputShapesThatAreNone) {
  std::string long_one = "2";
  for (int i = 1; i < 200; ++i) long_one += ",2";
  for (const std::string& text :
       {long_one, std::string("1,x,2"), std::string(""), std::string("0"), std::string("-1,2"),
        std::string("99999999999999999999"), std::string("4294967296,4294967296"),
        std::string("2,2,2,2,2,2,2,2"), std::string("1.5"), std::string("1,,2"), std::string("\x1B[2J")}) {
    info_.texts["input_shape"] = text;
    const std::string message = expect_error([&] { load_model(save()); }, {"is no shape of a sample"});
    EXPECT_EQ(message.find('\x1B'), std::string::npos);
  }
}

TEST_F(Contract, NumbersThatAreNone) {
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), 1e300, -1e300, 0.5,
                             std::numeric_limits<double>::infinity()}) {
    info_.numbers["classes"] = value;
    expect_error([&] { load_model(save()); }, {"classes", "no whole number"});
  }
  info_.numbers["classes"] = -1;
  expect_error([&] { load_model(save()); }, {"-1 classes"});
  info_.numbers["classes"] = 3;
  for (const char* key : {"best_step", "validations_without_improvement"}) {
    info_.numbers[key] = 1e300;
    expect_error([&] { read_train_state(info_); }, {key, "no whole number"});
    info_.numbers.erase(key);
  }
}

TEST_F(Contract, AModelThatTheFileDoesNotHoldIsNotAllocated) {
  info_.job.replace(info_.job.find("affine: 3"), 9, "affine: 200000000");
  expect_error([&] { load_model(save()); }, {"its weights have 15 values", "1000000000"});
}

TEST_F(Contract, OfAnotherMachine) {
  info_.job +=
      "threads: 4000\ndevice: cuda\nprecision: float16\n"
      "data: {train: x, threads: 200, prefetch: 9999, cache_mb: 1.0e+9}\n";
  const TrainedModel model = load_model(save());
  EXPECT_LT(model.job.threads, 4000);
  EXPECT_EQ(model.job.data_threads, 0);
  EXPECT_EQ(model.job.prefetch, 4);
  EXPECT_EQ(model.job.cache_bytes, Job{}.cache_bytes);
}

TEST(ClassNames, AreDistinct) {
  EXPECT_NO_THROW(check_distinct("data", {}));
  EXPECT_NO_THROW(check_distinct("data", {"ant", "bee", "Ant"}));
  expect_error(
      [] {
        check_distinct("data", {"ant", "bee", "cat", "bee"});
      },
      {"data", "classes 1 and 3", "'bee'", "class_names"});
}

}  // namespace
}  // namespace lockstep
