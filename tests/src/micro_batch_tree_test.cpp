// MicroBatchTree against a plain recursion over the binary tree, bit for bit, for every number
// of micro-batches, with the last merge cut into ranges as buckets cut it.
#include "src/step/micro_batch_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/random.h"
#include "src/network/layers/layers.h"

namespace lockstep {
namespace {

constexpr int64_t kWidth = 130;  // elements of a gradient; not a multiple of a vector

Graph graph_of(int64_t n) {
  Graph graph;
  graph.add_input("input", {n});
  graph.append(affine_layer(1, false));
  return graph;
}

/// Sum of leaves [begin, begin + span) where they exist: two halves of a power of two.
template <typename T>
T tree_sum(const std::vector<std::vector<T>>& leaves, size_t i, size_t begin, size_t span) {
  if (span == 1) return leaves[begin][i];
  const T left = tree_sum(leaves, i, begin, span / 2);
  if (begin + span / 2 >= leaves.size()) return left;
  return left + tree_sum(leaves, i, begin + span / 2, span / 2);
}

/// Values of many magnitudes, so that another order gives other bits.
template <typename T>
std::vector<std::vector<T>> random_leaves(int64_t n, int64_t width) {
  std::vector<std::vector<T>> leaves(n, std::vector<T>(width));
  for (int64_t m = 0; m < n; ++m) {
    const RandomStream random(3, RandomPurpose::kSynthetic, 0, static_cast<uint64_t>(m));
    for (int64_t i = 0; i < width; ++i)
      leaves[m][i] = static_cast<T>(random.normal(i)) * (T{1} + static_cast<T>(i % 7) * T{100}) / T{3};
  }
  return leaves;
}

/// What the tree makes of the leaves; `ranges` are the ends of the last merge's ranges.
std::vector<float> run(const std::vector<std::vector<float>>& leaves, const std::vector<int64_t>& ranges,
                       int rounds) {
  const ParameterArena arena(graph_of(kWidth), Device{});
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  const auto n = static_cast<int64_t>(leaves.size());
  MicroBatchTree tree(arena, n);
  EXPECT_EQ(tree.n_micro(), n);
  for (int round = 0; round < rounds; ++round) {  // what a step leaves behind must not matter to the next
    for (int64_t m = 0; m < n; ++m) {
      std::copy(leaves[m].begin(), leaves[m].end(), tree.target(m));
      if (m + 1 < n) {
        tree.merge(*stream, m, 0, arena.n_elements());
        continue;
      }
      int64_t begin = 0;
      for (int64_t end : ranges) tree.merge(*stream, m, begin, end), begin = end;
      tree.merge(*stream, m, begin, arena.n_elements());
    }
  }
  return {tree.result(), tree.result() + kWidth};
}

TEST(MicroBatchTree, IsTheBinaryTreeForEveryCount) {
  int n_order_matters = 0;
  for (int64_t n = 1; n <= 16; ++n) {
    const auto leaves = random_leaves<float>(n, kWidth);
    const size_t span = std::bit_ceil(static_cast<size_t>(n));
    std::vector<float> expected(kWidth), running(kWidth, 0.0f);
    for (int64_t i = 0; i < kWidth; ++i) expected[i] = tree_sum(leaves, i, 0, span);
    for (int64_t m = 0; m < n; ++m) {
      for (int64_t i = 0; i < kWidth; ++i) running[i] += leaves[m][i];
    }
    n_order_matters += std::memcmp(expected.data(), running.data(), kWidth * sizeof(float)) != 0;
    for (const std::vector<int64_t>& ranges : std::vector<std::vector<int64_t>>{{}, {64}, {0, 1, 77, 129}}) {
      const std::vector<float> sum = run(leaves, ranges, 2);
      EXPECT_EQ(std::memcmp(sum.data(), expected.data(), kWidth * sizeof(float)), 0) << n << " micro-batches";
    }
  }
  EXPECT_GE(n_order_matters, 12);  // the oracle can tell orders apart
}

TEST(MicroBatchTree, SubtreesOfRanksGiveTheWholeTree) {
  // 8 micro-batches on P ranks: the sums of the ranks' subtrees, paired 1, 2, 4 apart.
  const auto leaves = random_leaves<float>(8, kWidth);
  const std::vector<float> whole = run(leaves, {}, 1);
  for (int64_t ranks : {2, 4, 8}) {
    std::vector<std::vector<float>> partial;
    for (int64_t r = 0; r < ranks; ++r) {
      partial.push_back(run({leaves.begin() + r * 8 / ranks, leaves.begin() + (r + 1) * 8 / ranks}, {}, 1));
    }
    for (int64_t i = 0; i < kWidth; ++i) {
      ASSERT_EQ(tree_sum(partial, i, 0, partial.size()), whole[i]) << ranks << " ranks, element " << i;
    }
  }
}

float to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

float rounded_tree_sum(const std::vector<std::vector<float>>& leaves, size_t i, size_t begin, size_t span) {
  if (span == 1) return to_bfloat16(leaves[begin][i]);
  return to_bfloat16(rounded_tree_sum(leaves, i, begin, span / 2) +
                     rounded_tree_sum(leaves, i, begin + span / 2, span / 2));
}

TEST(MicroBatchTree, ForABFloat16WireLeavesAndSumsAreRounded) {
  for (const int64_t n : {1, 2, 8}) {
    auto leaves = random_leaves<float>(n, kWidth);
    const ParameterArena arena(graph_of(kWidth), Device{});
    const std::unique_ptr<Stream> stream = make_stream(Device{});
    MicroBatchTree plain(arena, n, Wire::kBFloat16), feedback(arena, n, Wire::kBFloat16, true);
    EXPECT_TRUE(plain.residuals().empty());
    ASSERT_EQ(int64_t(feedback.residuals().size()), n);
    for (int step = 0; step < 3; ++step) {
      for (MicroBatchTree* tree : {&plain, &feedback}) {
        for (int64_t m = 0; m < n; ++m) {
          std::copy(leaves[m].begin(), leaves[m].end(), tree->target(m));
          if (m + 1 == n) tree->merge(*stream, m, 0, 70);
          tree->merge(*stream, m, m + 1 == n ? 70 : 0, arena.n_elements());
        }
      }
      for (int64_t i = 0; i < kWidth; ++i)
        ASSERT_EQ(plain.result()[i], rounded_tree_sum(leaves, i, 0, static_cast<size_t>(n))) << n << " " << i;
    }
    // With feedback the leaves of three steps add up, but for what the residual still has.
    std::vector<std::vector<float>> fed = leaves;
    for (int64_t m = 0; m < n; ++m) {
      for (int64_t i = 0; i < kWidth; ++i) {
        float residual = 0, sent = 0;
        for (int step = 0; step < 3; ++step) {
          const float wanted = leaves[m][i] + residual;
          sent = to_bfloat16(wanted);
          residual = wanted - sent;
        }
        fed[m][i] = sent;
        ASSERT_EQ(feedback.residuals()[m].as<float>()[i], residual);
      }
    }
    for (int64_t i = 0; i < kWidth; ++i)
      ASSERT_EQ(feedback.result()[i], rounded_tree_sum(fed, i, 0, static_cast<size_t>(n)));
  }
}

TEST(TreeSumRows, IsTheSameTreeForDoubles) {
  constexpr int64_t kValues = 6;
  int n_order_matters = 0;
  for (int64_t n = 1; n <= 16; ++n) {
    const auto leaves = random_leaves<double>(n, kValues);
    std::vector<double> rows, running(kValues, 0.0);
    for (const auto& leaf : leaves) {
      rows.insert(rows.end(), leaf.begin(), leaf.end());
      for (int64_t i = 0; i < kValues; ++i) running[i] += leaf[i];
    }
    tree_sum_rows(rows.data(), n, kValues);
    for (int64_t i = 0; i < kValues; ++i) {
      const double expected = tree_sum(leaves, i, 0, std::bit_ceil(static_cast<size_t>(n)));
      EXPECT_EQ(rows[i], expected) << n << " rows, value " << i;
      n_order_matters += expected != running[i];
    }
  }
  EXPECT_GE(n_order_matters, 20);
}

}  // namespace
}  // namespace lockstep
