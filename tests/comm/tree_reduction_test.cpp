// The fixed tree: bit equality of every rank's sum with a serial emulation, for lengths
// around every border of the algorithm, and equality of P ranks with 2P, 4P … ranks.
#include "comm/reduction/tree_reduction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "comm/communicator.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"
#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

const std::vector<int64_t> kShort{0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 1000, 4097, 70001};
const std::vector<int64_t> kLong{1 << 20, (1 << 20) + 13};

template <typename T>
constexpr T kGuard = T(-12345.5);

template <typename T>
void expect_tree_bits(const TreeTuning& tuning, const std::vector<int64_t>& lengths) {
  Communicator world = Communicator::world();
  size_t n_compared = 0;
  for (const int64_t n : lengths) {
    const int64_t n_scratch = tree_scratch_elements(n, sizeof(T), world.size(), tuning);
    std::vector<T> values = vector_of<T>(world.rank(), n);
    std::vector<T> scratch(size_t(n_scratch) + 16, kGuard<T>);
    tree_all_reduce(mpi_comm(world), values.data(), n, scratch.data(), tuning, Patience{});
    EXPECT_EQ(std::count(scratch.end() - 16, scratch.end(), kGuard<T>), 16) << "wrote past its scratch";
    EXPECT_LE(n_scratch, n);
    EXPECT_TRUE(same_bits(values, tree_sum<T>(0, world.size(), n))) << "n = " << n;
    ++n_compared;
  }
  EXPECT_EQ(n_compared, lengths.size());
}

TEST(TreeReduction, FloatBitsAreTheTree) {
  expect_tree_bits<float>({}, kShort);
  expect_tree_bits<float>({}, kLong);
}
TEST(TreeReduction, DoubleBitsAreTheTree) {
  expect_tree_bits<double>({}, kShort);
  expect_tree_bits<double>({}, kLong);
}
TEST(TreeReduction, HalvingGivesTheTreeForEveryLength) {
  expect_tree_bits<float>({.doubling_bytes = 0}, kShort);
}
TEST(TreeReduction, DoublingGivesTheTreeForEveryLength) {
  expect_tree_bits<float>({.doubling_bytes = int64_t{1} << 40}, kShort);
}
TEST(TreeReduction, BlockCutsDoNotMatter) {
  expect_tree_bits<float>({.doubling_bytes = 0, .block_bytes = 4004, .shortest_bytes = 0}, kShort);
  expect_tree_bits<double>({.doubling_bytes = 64, .block_bytes = 999, .shortest_bytes = 0}, kShort);
}

TEST(TreeReduction, TheDataTellsOrdersApart) {  // guards the judge: a running sum has other bits
  std::vector<float> running = vector_of<float>(0, 1000);
  for (int leaf = 1; leaf < 8; ++leaf)
    for (int64_t i = 0; i < 1000; ++i) running[size_t(i)] += value_of<float>(leaf, i);
  const std::vector<float> tree = tree_sum<float>(0, 8, 1000);
  int n_different = 0;
  for (size_t i = 0; i < 1000; ++i) n_different += running[i] != tree[i];
  EXPECT_GT(n_different, 300);
}

TEST(TreeReduction, SixteenMicroBatchesGiveOneResultOnEveryRankCount) {
  Communicator world = Communicator::world();
  const int n_own = 16 / world.size(), first = world.rank() * n_own;
  int n_compared = 0;
  for (const int64_t n : {1, 777, 30011}) {
    std::vector<float> values = tree_sum<float>(first, n_own, n);
    world.all_reduce(values, Reduction::kTree);
    EXPECT_TRUE(same_bits(values, tree_sum<float>(0, 16, n))) << "n = " << n;
    ++n_compared;
  }
  EXPECT_EQ(n_compared, 3);
}

TEST(TreeReduction, InfinitiesAndNansReachEveryRank) {
  Communicator world = Communicator::world();
  for (const int64_t n : {3, 50000}) {
    std::vector<float> values(size_t(n), 1.0f);
    if (world.rank() == world.size() - 1) {
      values[0] = std::numeric_limits<float>::quiet_NaN();
      values[1] = std::numeric_limits<float>::infinity();
    }
    world.all_reduce(values, Reduction::kTree);
    EXPECT_TRUE(std::isnan(values[0]));
    EXPECT_EQ(values[1], std::numeric_limits<float>::infinity());
    EXPECT_EQ(values[2], float(world.size()));
  }
}

TEST(TreeReduction, PatienceWithNapsGivesTheSameBits) {
  Communicator world = Communicator::world();
  std::atomic<bool> hurry{false}, abandon{false};
  const int64_t n = 600000;
  std::vector<float> values = vector_of<float>(world.rank(), n), scratch(values.size());
  tree_all_reduce(mpi_comm(world), values.data(), n, scratch.data(), TreeTuning{},
                  Patience{&hurry, &abandon});
  EXPECT_TRUE(same_bits(values, tree_sum<float>(0, world.size(), n)));
}

TEST(TreeReduction, OtherRankCountsNameTheRemedy) {
  for (const int size : {1, 2, 4, 8, 1024}) EXPECT_NO_THROW(check_tree_size(size));
  for (const int size : {3, 5, 6, 7, 12, 1000}) {
    try {
      check_tree_size(size);
      FAIL() << size << " ranks were accepted";
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("reduction: native"), std::string::npos) << text;
      if (size == 6) {
        EXPECT_NE(text.find("4 or 8 ranks"), std::string::npos) << text;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep
