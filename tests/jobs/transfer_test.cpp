// Transfer learning: a trunk from another run's checkpoint, a new head, frozen layers that stay as they are.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "io/checkpoint/checkpoint.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

std::map<std::string, std::vector<float>> weights_of(const std::string& checkpoint) {
  std::map<std::string, std::vector<float>> all;
  for (const CheckpointEntry& entry : list_checkpoint(checkpoint)) {
    if (!entry.name.starts_with("/parameters/")) continue;
    std::vector<float>& values = all[entry.name.substr(12)];
    values.resize(static_cast<size_t>(entry.shape.n_elements()));
    load_checkpoint(checkpoint, {{entry.name, entry.shape, entry.dtype, values.data()}});
  }
  return all;
}

class Transfer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    ASSERT_EQ(lockstep(place_->train("base") + "--set train.epochs=2").status, 0);
  }
  static void TearDownTestSuite() { delete place_; }
  static std::string file(const std::string& name) { return place_->file(name); }
  static Ended take(const std::string& words, const std::string& out) {
    return lockstep("import " + file("base/checkpoints/best.h5") + " --job " + place_->job() + " --out " +
                    file(out) + " --set seed=99 " + words);
  }
  static inline Workplace* place_ = nullptr;
};

TEST_F(Transfer, ATrunkComesFromACheckpointAndTheHeadIsNew) {
  const Ended ended = take("--up-to fc2", "start.h5");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_NE(ended.output.find("initialised by the job: fc3.weight, fc3.bias"), std::string::npos)
      << ended.output;
  const auto base = weights_of(file("base/checkpoints/best.h5")), start = weights_of(file("start.h5"));
  ASSERT_EQ(start.size(), base.size());
  for (const auto& [name, values] : start)
    EXPECT_EQ(values == base.at(name), !name.starts_with("fc3.")) << name;

  // All of it: the same network again.
  ASSERT_EQ(take("", "whole.h5").status, 0);
  EXPECT_EQ(weights_of(file("whole.h5")), base);

  // A head of another size: what the checkpoint has behind the layer need not fit.
  ASSERT_EQ(
      take("--up-to conv2 --set 'model={zoo: lenet5, input: [1, 8, 8], classes: 17}' --set data=", "other.h5")
          .status,
      0);
  const auto other = weights_of(file("other.h5"));
  EXPECT_EQ(other.at("conv2.weight"), base.at("conv2.weight"));
  EXPECT_NE(other.at("fc3.weight").size(), base.at("fc3.weight").size());
}

TEST_F(Transfer, FrozenLayersStayBitForBit) {
  ASSERT_EQ(take("--up-to fc2", "frozen.h5").status, 0);
  const Ended ended = lockstep_on(
      2, place_->train("tuned") + "--set train.epochs=2 --set seed=99 --resume " + file("frozen.h5") +
             " --set 'optimizer.groups=[{match: [^conv, ^fc1, ^fc2], frozen: true}]'");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const auto before = weights_of(file("frozen.h5")), after = weights_of(file("tuned/checkpoints/last.h5"));
  for (const auto& [name, values] : after)
    EXPECT_EQ(values == before.at(name), !name.starts_with("fc3.")) << name;
}

TEST_F(Transfer, AFrozenTrunkHasNoStatesAndBeginsWithZerosWhenItThaws) {
  ASSERT_EQ(take("--up-to fc2", "trunk.h5").status, 0);
  const std::string run = place_->train("thawed") + "--set seed=99 ";
  ASSERT_EQ(lockstep_on(2, run + "--set train.epochs=1 --resume " + file("trunk.h5") +
                               " --set 'optimizer.groups=[{match: [^conv, ^fc1, ^fc2], frozen: true}]'")
                .status,
            0);
  const auto states = [](const std::string& checkpoint) {
    std::set<std::string> names;
    for (const CheckpointEntry& entry : list_checkpoint(checkpoint))
      if (entry.name.starts_with("/optimizer/")) names.insert(entry.name.substr(entry.name.rfind('/') + 1));
    return names;
  };
  const std::string last = file("thawed/checkpoints/last.h5");
  EXPECT_EQ(states(last), (std::set<std::string>{"fc3.bias", "fc3.weight"}));
  const auto before = weights_of(last);
  const Ended ended = lockstep_on(2, run + "--set train.epochs=2 --resume auto");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_NE(ended.output.find("begin at zero"), std::string::npos) << ended.output;
  EXPECT_NE(weights_of(last).at("conv1.weight"), before.at("conv1.weight"));
  EXPECT_TRUE(states(last).contains("conv1.weight"));
  // Another optimizer is no thawing.
  const Ended other =
      lockstep(run + "--set train.epochs=3 --resume auto --set 'optimizer={adam: {lr: 0.1}}'");
  EXPECT_NE(other.status, 0) << other.output;
}

TEST_F(Transfer, SaysWhatIsWrong) {
  const Ended layer = take("--up-to fc9", "x.h5");
  EXPECT_EQ(layer.status, 1);
  EXPECT_NE(layer.output.find("did you mean 'fc"), std::string::npos) << layer.output;
  const Ended shape = take("--set 'model={zoo: lenet5, input: [1, 8, 8], classes: 17}' --set data=", "x.h5");
  EXPECT_EQ(shape.status, 1);
  EXPECT_NE(shape.output.find("of another shape (2)"), std::string::npos) << shape.output;
  EXPECT_EQ(take("--layout keras", "x.h5").status, 2);
}

}  // namespace
}  // namespace lockstep
