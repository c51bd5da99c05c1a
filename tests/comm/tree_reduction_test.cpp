// The fixed tree: bit equality of every rank's sum with a serial emulation, for lengths
// around every border of the algorithm, and equality of P ranks with 2P, 4P … ranks.
#include "comm/tree_reduction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

/// Deterministic values over many magnitudes, so that another order of additions shows.
template <typename T>
T value_of(int rank, int64_t i) {
  uint64_t x = (uint64_t(rank) << 40) ^ uint64_t(i) ^ 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  const double unit = double(int64_t(x >> 11)) / double(int64_t{1} << 52) - 1.0;  // [-1, 1)
  return T(std::ldexp(unit, int(x & 15) - 8));
}

template <typename T>
std::vector<T> vector_of(int rank, int64_t n) {
  std::vector<T> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[size_t(i)] = value_of<T>(rank, i);
  return values;
}

/// The tree over leaves [first, first + count), written as the recursion that defines it.
template <typename T>
std::vector<T> tree_sum(int first, int count, int64_t n) {
  if (count == 1) return vector_of<T>(first, n);
  std::vector<T> left = tree_sum<T>(first, count / 2, n);
  const std::vector<T> right = tree_sum<T>(first + count / 2, count / 2, n);
  for (size_t i = 0; i < left.size(); ++i) left[i] = left[i] + right[i];
  return left;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

const std::vector<int64_t> kLengths{0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 1000, 4097, 1 << 20, (1 << 20) + 13};

template <typename T>
void expect_tree_bits(const TreeTuning& tuning) {
  Communicator world = Communicator::world();
  int n_compared = 0;
  for (const int64_t n : kLengths) {
    std::vector<T> values = vector_of<T>(world.rank(), n), scratch(values.size());
    tree_all_reduce(mpi_comm(world), values.data(), n, scratch.data(), tuning, Patience{});
    EXPECT_TRUE(same_bits(values, tree_sum<T>(0, world.size(), n))) << "n = " << n;
    ++n_compared;
  }
  EXPECT_EQ(n_compared, 14);
}

TEST(TreeReduction, FloatBitsAreTheTree) { expect_tree_bits<float>(TreeTuning{}); }
TEST(TreeReduction, DoubleBitsAreTheTree) { expect_tree_bits<double>(TreeTuning{}); }
TEST(TreeReduction, HalvingGivesTheTreeForEveryLength) { expect_tree_bits<float>({.doubling_bytes = 0}); }
TEST(TreeReduction, DoublingGivesTheTreeForEveryLength) {
  expect_tree_bits<float>({.doubling_bytes = int64_t{1} << 40});
}
TEST(TreeReduction, BlockCutsDoNotMatter) {
  expect_tree_bits<float>({.doubling_bytes = 0, .block_bytes = 4004});
  expect_tree_bits<double>({.doubling_bytes = 64, .block_bytes = 999});
}

}  // namespace
}  // namespace lockstep
