// Which ranks keep copies on their hosts' disks.
#include "src/run/checkpoints/local_checkpoints.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(LocalCheckpoints, TheFirstRanksOfTwoHostsKeepCopies) {
  EXPECT_EQ(ranks_that_keep_copies({"a"}), (std::vector<int>{0}));
  EXPECT_EQ(ranks_that_keep_copies({"a", "a", "a"}), (std::vector<int>{0}));
  EXPECT_EQ(ranks_that_keep_copies({"a", "a", "b", "b", "c"}), (std::vector<int>{0, 2}));
  EXPECT_EQ(ranks_that_keep_copies({"a", "b", "a", "b"}), (std::vector<int>{0, 1}));
}

}  // namespace
}  // namespace lockstep
