// Rank counts that are no power of two: the tree refuses with a remedy on every rank alike,
// `native` works.
#include <gtest/gtest.h>

#include "comm/communicator.h"
#include "comm/reduction/gradient_reducer.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

TEST(OddRanks, TreeRefusesAndNamesTheRemedy) {
  Communicator world = Communicator::world();
  std::vector<float> values(100);
  try {
    world.all_reduce(values, Reduction::kTree);
    FAIL() << "a tree over " << world.size() << " ranks";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("not " + std::to_string(world.size())), std::string::npos) << text;
    EXPECT_NE(text.find("reduction: native"), std::string::npos) << text;
  }
  EXPECT_THROW(GradientReducer(world, Reduction::kTree, {{0, 100}}), Error);
}

TEST(OddRanks, NativeSumsWholeNumbersExactly) {
  Communicator world = Communicator::world();
  const float sum = float(world.size() * (world.size() + 1) / 2);
  for (const Reduction reduction : {Reduction::kNative, Reduction::kHierarchical}) {
    std::vector<float> values(50000, float(world.rank() + 1));
    world.all_reduce(values, reduction);
    EXPECT_EQ(values, std::vector<float>(50000, sum));
  }

  std::vector<float> gradients(50000, float(world.rank() + 1));
  GradientReducer reducer(world, Reduction::kNative, {{0, 20000}, {20000, 50000}});
  reducer.bucket_ready(0, gradients.data());
  reducer.bucket_ready(1, gradients.data());
  reducer.wait();
  EXPECT_EQ(gradients, std::vector<float>(50000, sum));
}

}  // namespace
}  // namespace lockstep
