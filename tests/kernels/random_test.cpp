// Random numbers: the published vectors of Philox4x32-10, moments, independence of streams.
#include "kernels/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace lockstep {
namespace {

using Words = std::array<uint32_t, 4>;

// Known-answer vectors of Random123 (Salmon et al. 2011): kat_vectors, philox4x32 10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones}, {ones, ones, ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// A checkpoint or a job file relies on these numbers: they may never change.
TEST(RandomStream, NumbersStayWhatTheyAre) {
  const RandomStream stream(42, RandomPurpose::kDropout, 3, uint64_t{1} << 40);
  EXPECT_EQ(stream.bits(0), 0xdf1d1bd1u);
  EXPECT_EQ(stream.bits(5), 0xda3c0eceu);
  EXPECT_EQ(stream.bits(uint64_t{1} << 50), 0x683c5cb8u);
  EXPECT_EQ(stream.uniform(5), static_cast<float>(0xda3c0eceu >> 8) / 16777216.0f);
}

TEST(RandomStream, UniformHasItsMoments) {
  const RandomStream stream(1, RandomPurpose::kInit, 0, 0);
  constexpr int n = 1 << 20;
  std::vector<int> histogram(64);
  double mean = 0, square = 0;
  for (int i = 0; i < n; ++i) {
    const double u = stream.uniform(static_cast<uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++histogram[static_cast<size_t>(u * 64)];
    mean += u;
    square += u * u;
  }
  // 5 standard deviations of the estimates.
  EXPECT_NEAR(mean / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(square / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
  double chi_square = 0;
  for (int count : histogram) chi_square += (count - n / 64.0) * (count - n / 64.0) / (n / 64.0);
  EXPECT_NEAR(chi_square, 63, 5 * std::sqrt(2.0 * 63));
}

TEST(RandomStream, NormalHasItsMoments) {
  const RandomStream stream(7, RandomPurpose::kInit, 5, 2);
  constexpr int n = 1 << 20;
  double moment[5] = {};
  double neighbours = 0, previous = 0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal(static_cast<uint64_t>(i));
    ASSERT_TRUE(std::isfinite(x));
    double power = 1;
    for (double& m : moment) m += power, power *= x;
    neighbours += x * previous;
    previous = x;
    beyond_two += std::abs(x) > 2;
  }
  EXPECT_NEAR(moment[1] / n, 0.0, 5 / std::sqrt(n));
  EXPECT_NEAR(moment[2] / n, 1.0, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(moment[3] / n, 0.0, 5 * std::sqrt(15.0 / n));
  EXPECT_NEAR(moment[4] / n, 3.0, 5 * std::sqrt(96.0 / n));
  EXPECT_NEAR(neighbours / n, 0.0, 5 / std::sqrt(n));  // both numbers of a Box-Muller pair
  EXPECT_NEAR(beyond_two / static_cast<double>(n), 0.0455003, 5 * std::sqrt(0.0455 * 0.9545 / n));
}

// Streams that differ in one part only: no equal words, no correlation.
TEST(RandomStream, StreamsAreIndependent) {
  std::vector<RandomStream> streams;
  const uint64_t far = uint64_t{1} << 32;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, far})
    for (const RandomPurpose purpose :
         {RandomPurpose::kInit, RandomPurpose::kShuffle, RandomPurpose::kDropout, RandomPurpose::kAugment,
          RandomPurpose::kSynthetic})
      for (const uint32_t major : {0u, 1u, 2u})
        for (const uint64_t minor : {uint64_t{0}, uint64_t{1}, far, far + 1})
          streams.emplace_back(seed, purpose, major, minor);

  constexpr int n = 2000;
  std::set<uint64_t> seen;  // pairs of words: by chance equal with probability 1e-9
  std::vector<std::vector<float>> numbers;
  for (const RandomStream& stream : streams) {
    std::vector<float>& u = numbers.emplace_back();
    for (uint64_t i = 0; i < n; ++i) u.push_back(stream.uniform(i) - 0.5f);
    for (uint64_t i = 0; i < 64; i += 2) seen.insert(uint64_t{stream.bits(i)} << 32 | stream.bits(i + 1));
  }
  EXPECT_EQ(seen.size(), streams.size() * 32);

  double largest = 0;
  int64_t pairs = 0;
  for (size_t a = 0; a < numbers.size(); ++a)
    for (size_t b = 0; b < a; ++b, ++pairs) {
      double sum = 0;
      for (int i = 0; i < n; ++i)
        sum += numbers[a][static_cast<size_t>(i)] * numbers[b][static_cast<size_t>(i)];
      largest = std::max(largest, std::abs(sum) * 12 / std::sqrt(n));  // in standard deviations
    }
  EXPECT_EQ(pairs, 180 * 179 / 2);
  EXPECT_LT(largest, 5.5);  // of 16,110 normal numbers one exceeds it with probability 6e-4
}

TEST(RandomStream, IndexReachesFar) {
  const RandomStream stream(3, RandomPurpose::kSynthetic, 0, 0);
  const uint64_t far = uint64_t{1} << 34;  // the counter's second word
  EXPECT_NE(stream.bits(0), stream.bits(far));
  EXPECT_NE(stream.bits(1), stream.bits(far + 1));
}

}  // namespace
}  // namespace lockstep
