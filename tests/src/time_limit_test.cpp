// When a run leaves by itself before a time limit: the judgement, second by second.
#include "src/run/checkpoints/time_limit.h"

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace lockstep {
namespace {

TEST(TimeLimit, LeavesTimeForAStepAndTwoCheckpoints) {
  TimeLimit limit;
  EXPECT_FALSE(limit.is_near(1e9));  // none is known
  limit.end_s = 1000;
  limit.checkpoint_s = 10;
  EXPECT_DOUBLE_EQ(limit.lead_s(), 25);
  EXPECT_FALSE(limit.is_near(974.9));
  EXPECT_TRUE(limit.is_near(975));
  EXPECT_TRUE(limit.is_near(1001));
}

TEST(TimeLimit, KnowsTheLongestStep) {
  TimeLimit limit;
  limit.end_s = 1000;
  for (const double now_s : {100.0, 101.0, 121.0, 122.0}) limit.step_begins(now_s);  // one with a validation
  EXPECT_DOUBLE_EQ(limit.longest_step_s, 20);
  EXPECT_FALSE(limit.is_near(974));
  EXPECT_TRUE(limit.is_near(975));
}

TEST(TimeLimit, ComesFromTheEnvironment) {
  EXPECT_EQ(end_time_of(nullptr, nullptr), 0);
  EXPECT_EQ(end_time_of("", nullptr), 0);
  EXPECT_EQ(end_time_of("1764600000", nullptr), 1764600000);
  EXPECT_EQ(end_time_of("1764600000", "1764700000"), 1764600000);
  EXPECT_EQ(end_time_of(nullptr, "1764700000"), 1764700000);
  EXPECT_EQ(end_time_of(nullptr, "Unknown"), 0);
  for (const char* text : {"soon", "12:00", "-5", "17646000000000000000000", "12 "}) {
    try {
      end_time_of(text, nullptr);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("seconds since 1970"), std::string::npos) << e.what();
    }
  }
}

TEST(TimeLimit, AGuessedCheckpointGrowsWithItsBytes) {
  EXPECT_DOUBLE_EQ(guessed_checkpoint_s(250'000'000), 2.5);
}

}  // namespace
}  // namespace lockstep
