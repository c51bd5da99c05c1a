// The sampler is a permutation for every size, seed and epoch, spreads evenly, and has no
// state. A few literal values pin the order: a change would change every training run.
#include "io/loader/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace lockstep {
namespace {

std::vector<int64_t> order(int64_t n, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> ids(static_cast<size_t>(n));
  Sampler(n, seed, {true}).samples_at(epoch, 0, n, ids.data());
  return ids;
}

bool is_permutation(std::vector<int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

/// Sum of (observed - expected)^2 / expected, as standard deviations from its mean.
double chi_square_sigmas(const std::vector<int64_t>& counts) {
  const double n = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  const double expected = n / static_cast<double>(counts.size());
  double sum = 0;
  for (int64_t count : counts)
    sum += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
  const double freedom = static_cast<double>(counts.size()) - 1;
  return (sum - freedom) / std::sqrt(2 * freedom);
}

TEST(Sampler, IsAPermutationForEverySize) {
  int64_t n_checked = 0;
  std::vector<int64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  for (int64_t n : {1023, 1024, 1025, 1797, 65535, 65536, 65537, 1000003}) sizes.push_back(n);
  for (int64_t n : sizes) {
    for (int64_t epoch : {int64_t{0}, int64_t{1}, int64_t{1} << 40}) {
      ASSERT_TRUE(is_permutation(order(n, 7, epoch))) << n << " samples, epoch " << epoch;
      ++n_checked;
    }
  }
  EXPECT_EQ(n_checked, 308 * 3);
}

TEST(Sampler, WithoutShuffleCountsUp) {
  const Sampler sampler(1797, 3, {false});
  for (int64_t i = 0; i < 1797; ++i) ASSERT_EQ(sampler.sample_at(5, i), i);
}

TEST(Sampler, SeekingEqualsWalking) {
  const Sampler sampler(1797, 11, {true});
  const std::vector<int64_t> all = order(1797, 11, 4);
  for (int64_t i = 0; i < 1797; ++i) ASSERT_EQ(sampler.sample_at(4, i), all[static_cast<size_t>(i)]);
  std::vector<int64_t> part(100);
  sampler.samples_at(4, 1000, 100, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 1000));
}

TEST(Sampler, HugeSizesStayInRangeAndDiffer) {
  for (int64_t n : {(int64_t{1} << 40) + 1, int64_t{1} << 62}) {
    const Sampler sampler(n, 1, {true});
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 2000; ++i) {
      ids.push_back(sampler.sample_at(0, n - 1 - i));
      ASSERT_GE(ids.back(), 0);
      ASSERT_LT(ids.back(), n);
    }
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
    EXPECT_GT(ids.back() - ids.front(), n / 10 * 9);
  }
}

TEST(Sampler, SeedsAndEpochsGiveUnrelatedOrders) {
  // Two unrelated orders agree in about one position, whatever their length (Poisson, mean 1).
  const int64_t n = 1797;
  std::vector<std::vector<int64_t>> orders;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    for (int64_t epoch : {0, 1, 2, 3}) orders.push_back(order(n, seed, epoch));
  }
  for (size_t a = 0; a < orders.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      int64_t n_equal = 0;
      for (int64_t i = 0; i < n; ++i)
        n_equal += orders[a][static_cast<size_t>(i)] == orders[b][static_cast<size_t>(i)];
      EXPECT_LE(n_equal, 9) << a << " and " << b;
    }
  }
}

TEST(Sampler, EverySampleIsEquallyLikelyAtEveryPosition) {
  for (int64_t n : {2, 3, 5, 10, 97, 1000}) {
    for (int64_t position : {int64_t{0}, n / 2, n - 1}) {
      std::vector<int64_t> counts(static_cast<size_t>(n));
      for (int64_t epoch = 0; epoch < 100 * n; ++epoch)
        ++counts[static_cast<size_t>(Sampler(n, 42, {true}).sample_at(epoch, position))];
      EXPECT_LT(std::abs(chi_square_sigmas(counts)), 6) << n << " samples, position " << position;
    }
  }
}

TEST(Sampler, NeighboursAreIndependent) {
  // Differences of neighbouring samples, in 64 classes, over one long order; and all pairs of
  // the first two samples of a short one.
  const int64_t n = 1 << 18;
  const std::vector<int64_t> ids = order(n, 5, 0);
  std::vector<int64_t> differences(64);
  for (int64_t i = 1; i < n; ++i)
    ++differences[static_cast<size_t>((ids[static_cast<size_t>(i)] - ids[static_cast<size_t>(i - 1)] + n) %
                                      n * 64 / n)];
  EXPECT_LT(std::abs(chi_square_sigmas(differences)), 6);

  const int64_t m = 11;
  std::vector<int64_t> pairs;
  std::vector<int64_t> counts(m * m);
  for (int64_t epoch = 0; epoch < 100 * m * m; ++epoch) {
    const Sampler sampler(m, 9, {true});
    ++counts[static_cast<size_t>(sampler.sample_at(epoch, 3) * m + sampler.sample_at(epoch, 4))];
  }
  for (int64_t i = 0; i < m * m; ++i) {
    if (i / m == i % m) {
      EXPECT_EQ(counts[static_cast<size_t>(i)], 0);
    } else {
      pairs.push_back(counts[static_cast<size_t>(i)]);
    }
  }
  EXPECT_LT(std::abs(chi_square_sigmas(pairs)), 6);
}

TEST(Sampler, AllOrdersOfFewSamplesOccurEquallyOften) {
  for (int64_t n : {2, 3, 4, 5, 6, 7}) {  // 7: a 3 x 3 grid, all rounds even
    std::vector<int64_t> identity(static_cast<size_t>(n));
    std::iota(identity.begin(), identity.end(), 0);
    std::vector<std::vector<int64_t>> all;
    do all.push_back(identity);
    while (std::next_permutation(identity.begin(), identity.end()));
    std::vector<int64_t> counts(all.size());
    const auto n_draws = static_cast<int64_t>(all.size()) * 60;
    for (int64_t epoch = 0; epoch < n_draws; ++epoch) {
      const auto it = std::lower_bound(all.begin(), all.end(), order(n, 1, epoch));
      ++counts[static_cast<size_t>(it - all.begin())];
    }
    EXPECT_LT(std::abs(chi_square_sigmas(counts)), 6) << n;
  }
}

/// An epoch's order with windows.
std::vector<int64_t> windowed(int64_t n, Shuffle shuffle, int64_t epoch, uint64_t seed = 7) {
  std::vector<int64_t> ids(static_cast<size_t>(n));
  Sampler(n, seed, shuffle).samples_at(epoch, 0, n, ids.data());
  return ids;
}

TEST(Sampler, PermutationsHaveInverses) {
  for (int64_t n : {int64_t{1}, int64_t{2}, int64_t{7}, int64_t{1000}, int64_t{1025}, int64_t{1} << 40}) {
    const Permutation permutation(n);
    for (int64_t epoch : {0, 3}) {
      const Permutation::Keys keys = permutation.keys(5, epoch);
      for (int64_t i = 0; i < std::min<int64_t>(n, 2000); ++i) {
        ASSERT_EQ(permutation.invert(keys, permutation.apply(keys, i)), i);
        ASSERT_EQ(permutation.apply(keys, permutation.invert(keys, n - 1 - i)), n - 1 - i);
      }
    }
  }
}

TEST(Sampler, WindowsHoldEverySampleOnceForEverySize) {
  int64_t n_checked = 0;
  for (int64_t n : {1, 2, 3, 7, 10, 61, 64, 100, 1000, 1797, 4096}) {
    for (int64_t window : {1, 2, 5, 16, 60, 64, 333, 5000}) {
      for (int64_t block : {1, 3, 16, 64}) {
        if (block > window) continue;
        for (int64_t epoch = 0; epoch < 4; ++epoch, ++n_checked)
          ASSERT_TRUE(is_permutation(windowed(n, {true, window, block}, epoch)))
              << n << " samples, window " << window << ", block " << block << ", epoch " << epoch;
      }
    }
  }
  EXPECT_EQ(n_checked, 11 * (1 + 1 + 2 + 3 + 3 + 4 + 4 + 4) * 4);
}

TEST(Sampler, WindowsSeekAsTheyWalk) {
  const Shuffle shuffle{true, 100, 7};
  const Sampler sampler(1797, 7, shuffle);
  for (int64_t epoch : {0, 1, 9}) {
    const std::vector<int64_t> all = windowed(1797, shuffle, epoch);
    for (int64_t i = 0; i < 1797; ++i) ASSERT_EQ(sampler.sample_at(epoch, i), all[static_cast<size_t>(i)]);
    for (int64_t first : {0, 90, 1000, 1690}) {
      std::vector<int64_t> part(107);
      sampler.samples_at(epoch, first, 107, part.data());
      ASSERT_TRUE(std::equal(part.begin(), part.end(), all.begin() + first));
    }
  }
}

TEST(Sampler, AWindowComesFromItsBlocksAndMixesThem) {
  const int64_t n = 10000, window = 640, block = 10;  // 1000 blocks, none short
  for (int64_t epoch : {0, 1}) {
    const std::vector<int64_t> ids = windowed(n, {true, window, block}, epoch);
    std::vector<int64_t> window_of_block(n / block, -1);
    for (int64_t i = 0; i < n; ++i) {
      int64_t& of_block = window_of_block[static_cast<size_t>(ids[static_cast<size_t>(i)] / block)];
      if (of_block < 0) of_block = i / window;
      ASSERT_EQ(of_block, i / window);
    }
    // Within a window neighbours are of one block about once in 64, not nine times in ten.
    int64_t n_same = 0;
    for (int64_t i = 1; i < n; ++i)
      n_same += ids[static_cast<size_t>(i)] / block == ids[static_cast<size_t>(i - 1)] / block;
    EXPECT_LT(n_same, n / 64 * 2);
  }
}

TEST(Sampler, EverySampleIsEquallyLikelyAtEveryPositionOfWindows) {
  for (int64_t n : {10, 97, 250}) {  // the last block is short, full, short
    for (int64_t position : {int64_t{0}, n / 2, n - 1}) {
      const Shuffle shuffle{true, 24, n == 97 ? 1 : 4};
      std::vector<int64_t> counts(static_cast<size_t>(n));
      for (int64_t epoch = 0; epoch < 200 * n; ++epoch)
        ++counts[static_cast<size_t>(Sampler(n, 42, shuffle).sample_at(epoch, position))];
      EXPECT_LT(std::abs(chi_square_sigmas(counts)), 6) << n << " samples, position " << position;
    }
  }
}

TEST(Sampler, OrderIsPinned) {
  // Written down once: these numbers may never change, or no earlier run can be reproduced.
  EXPECT_EQ(order(10, 1, 0), (std::vector<int64_t>{6, 0, 3, 7, 9, 4, 1, 8, 5, 2}));
  const Sampler large(1000003, 123456789012345, {true});
  EXPECT_EQ(large.sample_at(0, 0), 282857);
  EXPECT_EQ(large.sample_at(7, 500000), 184921);
  EXPECT_EQ(windowed(12, {true, 6, 2}, 0, 1), (std::vector<int64_t>{5, 3, 1, 4, 2, 0, 10, 6, 8, 11, 9, 7}));
}

}  // namespace
}  // namespace lockstep
