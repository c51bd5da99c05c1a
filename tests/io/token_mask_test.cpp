// Which tokens are masked: about as many as asked, the same for input and target, and by seed, epoch and
// sample alone.
#include "io/loader/token_mask.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace lockstep {
namespace {

constexpr int64_t kTokens = 20000, kIds = 50, kMask = 50;

std::vector<int64_t> some_ids() {
  std::vector<int64_t> ids(kTokens);
  for (int64_t i = 0; i < kTokens; ++i) ids[static_cast<size_t>(i)] = i * 7 % kIds;
  return ids;
}

std::vector<int64_t> masked(bool is_target, uint64_t seed, int64_t epoch, int64_t sample) {
  std::vector<int64_t> ids = some_ids();
  mask_tokens({0.15, kMask, kIds, is_target}, seed, epoch, sample, kTokens, DType::kInt64, ids.data());
  return ids;
}

TEST(TokenMask, ChoosesTheShareThatItIsAskedFor) {
  const std::vector<int64_t> ids = some_ids(), input = masked(false, 1, 2, 3), target = masked(true, 1, 2, 3);
  int64_t n_chosen = 0, n_masks = 0, n_kept = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (target[i] == -1) {
      ASSERT_EQ(input[i], ids[i]) << "not chosen, so it stays";
      continue;
    }
    ASSERT_EQ(target[i], ids[i]);
    ++n_chosen;
    n_masks += input[i] == kMask;
    n_kept += input[i] == ids[i];
    ASSERT_GE(input[i], 0);
    ASSERT_LE(input[i], kMask);
  }
  EXPECT_NEAR(static_cast<double>(n_chosen) / kTokens, 0.15, 0.01);
  EXPECT_NEAR(static_cast<double>(n_masks) / static_cast<double>(n_chosen), 0.8, 0.03);
  EXPECT_NEAR(static_cast<double>(n_kept) / static_cast<double>(n_chosen), 0.1 + 0.1 / kIds, 0.03);
}

TEST(TokenMask, FollowsFromSeedEpochAndSample) {
  const std::vector<int64_t> first = masked(false, 1, 2, 3);
  EXPECT_EQ(masked(false, 1, 2, 3), first);
  EXPECT_NE(masked(false, 2, 2, 3), first);
  EXPECT_NE(masked(false, 1, 3, 3), first);
  EXPECT_NE(masked(false, 1, 2, 4), first);
}

TEST(TokenMask, IsTheSameForBothTypesOfIds) {
  std::vector<int64_t> ids = some_ids();
  std::vector<int32_t> words(ids.begin(), ids.end());
  const TokenMask mask{0.3, kMask, kIds, false};
  mask_tokens(mask, 1, 0, 5, kTokens, DType::kInt64, ids.data());
  mask_tokens(mask, 1, 0, 5, kTokens, DType::kInt32, words.data());
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(words[i], ids[i]);
}

}  // namespace
}  // namespace lockstep
