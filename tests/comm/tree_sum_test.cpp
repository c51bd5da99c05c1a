// The sum of several vectors against the tree written as its definition, bit by bit: every number of
// vectors, lengths around the pieces, into a vector of its own and into any of the sources.
#include "comm/reduction/tree_sum.h"

#include <gtest/gtest.h>

#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

template <typename T>
int compare_all(int n_sources) {
  constexpr T kGuard = T(-7.5);
  int n_compared = 0;
  for (const int64_t n : {0, 1, 3, 17, 1023, 1024, 1025, 2500}) {
    const std::vector<T> expected = tree_sum<T>(0, n_sources, n);
    for (int into = -1; into < n_sources; ++into) {
      std::vector<std::vector<T>> vectors;
      for (int k = 0; k < n_sources; ++k) {
        vectors.push_back(vector_of<T>(k, n));
        vectors.back().push_back(kGuard);
      }
      std::vector<T> own(size_t(n) + 1, kGuard);
      std::vector<const T*> sources;
      for (const std::vector<T>& vector : vectors) sources.push_back(vector.data());
      std::vector<T>& dst = into < 0 ? own : vectors[size_t(into)];
      tree_sum(sources.data(), n_sources, dst.data(), n);
      EXPECT_EQ(dst.back(), kGuard);
      dst.pop_back();
      EXPECT_TRUE(same_bits(dst, expected)) << n_sources << " vectors of " << n << " into " << into;
      ++n_compared;
    }
  }
  return n_compared;
}

TEST(TreeSum, BitsAreTheTreeForEveryNumberOfVectors) {
  int n_compared = 0, n_expected = 0;
  for (int n_sources = 1; n_sources <= 20; ++n_sources) {
    n_compared += compare_all<float>(n_sources) + compare_all<double>(n_sources);
    n_expected += 2 * 8 * (n_sources + 1);
  }
  EXPECT_EQ(n_compared, n_expected);
}

TEST(TreeSum, EverySumIsRoundedToBFloat16) {
  for (int n_sources = 1; n_sources <= 20; ++n_sources) {
    for (const int64_t n : {1, 17, 1025, 2500}) {
      std::vector<std::vector<float>> vectors;
      std::vector<const float*> sources;
      for (int k = 0; k < n_sources; ++k) vectors.push_back(rounded_vector_of(k, n));
      for (const std::vector<float>& vector : vectors) sources.push_back(vector.data());
      std::vector<float> sum(static_cast<size_t>(n));
      tree_sum_bfloat16(sources.data(), n_sources, sum.data(), n);
      EXPECT_TRUE(same_bits(sum, rounded_tree_sum(0, n_sources, n))) << n_sources << " vectors of " << n;
    }
  }
}

}  // namespace
}  // namespace lockstep
