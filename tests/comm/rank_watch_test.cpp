// The judgement of the watchdog, second by second: who calls whom lost, who takes over, when it warns.
#include "comm/watchdog/rank_watch.h"

#include <gtest/gtest.h>

#include <numeric>

namespace lockstep {
namespace {

using Ranks = std::vector<int>;

Ranks numbers(int n) {
  Ranks ranks(n);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

/// The judgements of all ranks, who hear of each other once a second.
struct Course {
  explicit Course(int n_ranks, int n_watchers, RankWatch::Options options = {}) : beats(n_ranks) {
    for (int r = 0; r < n_ranks; ++r) watches.emplace_back(r, numbers(n_ranks), n_watchers, options, 0.0);
  }
  /// One second in which the ranks of `mute` tell nothing. Returns who calls whom lost.
  std::vector<std::pair<int, Ranks>> second(const Ranks& mute) {
    now_s += 1;
    std::vector<std::pair<int, Ranks>> verdicts;
    const auto is_mute = [&](int r) { return std::find(mute.begin(), mute.end(), r) != mute.end(); };
    const int n = static_cast<int>(watches.size());
    for (int from = 0; from < n; ++from) {
      if (is_mute(from)) continue;
      for (int to = 0; to < n; ++to)
        if (to == from || watches[to].hear_each_other(to, from)) watches[to].heard(from, beats[from], now_s);
    }
    for (int r = 0; r < n; ++r) {
      if (is_mute(r)) continue;
      if (const Ranks silent = watches[r].silent(now_s); !silent.empty()) verdicts.emplace_back(r, silent);
    }
    return verdicts;
  }
  /// Seconds until somebody is called lost.
  double until_verdict(const Ranks& mute, std::vector<std::pair<int, Ranks>>& verdicts) {
    const double start_s = now_s;
    do {
      verdicts = second(mute);
    } while (verdicts.empty() && now_s < start_s + 100);
    return now_s - start_s;
  }
  std::vector<RankWatch> watches;
  std::vector<Beat> beats;
  double now_s = 0;
};

using Verdicts = std::vector<std::pair<int, Ranks>>;

TEST(RankWatch, NobodyIsLostWhoSpeaks) {
  Course run(4, 4);
  for (int s = 0; s < 200; ++s) ASSERT_EQ(run.second({}), Verdicts());
}

TEST(RankWatch, TheFirstLivingRankCallsTheSilentLost) {
  for (int mute = 1; mute < 4; ++mute) {
    Course run(4, 4);
    for (int s = 0; s < 10; ++s) run.second({});
    Verdicts verdicts;
    EXPECT_EQ(run.until_verdict({mute}, verdicts), 15);
    EXPECT_EQ(verdicts, (Verdicts{{0, {mute}}}));
  }
}

TEST(RankWatch, TheNextTakesOverWithinThirtySeconds) {
  Course run(6, 4);
  Verdicts verdicts;
  EXPECT_EQ(run.until_verdict({0}, verdicts), 15);
  EXPECT_EQ(verdicts, (Verdicts{{1, {0}}}));
  Course two(6, 4);
  EXPECT_EQ(two.until_verdict({0, 1}, verdicts), 15);
  EXPECT_EQ(verdicts, (Verdicts{{2, {0, 1}}}));
  Course all_watchers(6, 4);
  EXPECT_LE(all_watchers.until_verdict({0, 1, 2, 3}, verdicts), 20);
  ASSERT_FALSE(verdicts.empty());
  EXPECT_EQ(verdicts[0].second, (Ranks{0, 1, 2, 3}));
}

TEST(RankWatch, RanksThatAreAboutToBeSilentGoTogether) {
  Course run(4, 4);
  run.second({2});
  run.second({2});
  Verdicts verdicts;
  run.until_verdict({1, 2}, verdicts);
  EXPECT_EQ(verdicts, (Verdicts{{0, {1, 2}}}));
}

TEST(RankWatch, WhoStoodStillItselfJudgesNobody) {
  Course run(3, 3);
  for (int s = 0; s < 5; ++s) run.second({});
  run.now_s += 3600;  // the job was suspended
  EXPECT_EQ(run.second({1}), Verdicts());
  Verdicts verdicts;
  EXPECT_EQ(run.until_verdict({1}, verdicts), 15);
}

TEST(RankWatch, UnwatchedAndLostRanksAreNotJudged) {
  Course run(3, 3);
  run.watches[0].leave_unwatched(2);
  run.watches[0].lose(1, Loss::kEnded);
  run.watches[0].lose(1, Loss::kSilent);
  EXPECT_EQ(run.watches[0].loss(1), Loss::kEnded) << "the first word counts";
  EXPECT_EQ(run.watches[0].lost(), Ranks{1});
  for (int s = 0; s < 100; ++s) {
    run.now_s += 1;
    ASSERT_EQ(run.watches[0].silent(run.now_s), Ranks());
  }
  EXPECT_EQ(run.watches[2].first_living(), 0);
  run.watches[2].lose(0, Loss::kSilent);
  EXPECT_EQ(run.watches[2].first_living(), 1);
}

TEST(RankWatch, ARankThatKeepsOthersWaitingIsNamedEverMoreRarely) {
  Course run(4, 4);
  for (int r : {0, 1, 3}) run.beats[r] = {70, 0, true, "gradient all-reduce, bucket 2"};
  run.beats[2] = {70, 0, false, "reading data"};
  std::vector<double> warned_at;
  std::string text;
  for (int s = 0; s < 200; ++s) {
    for (Beat& beat : run.beats) beat.for_s += 1;
    run.second({});
    for (int r = 0; r < 4; ++r) {
      const std::string warning =
          run.watches[r].stuck(run.now_s, [](int rank) { return "<" + std::to_string(rank) + ">"; });
      if (warning.empty()) continue;
      EXPECT_EQ(r, 0);
      warned_at.push_back(run.now_s);
      text = warning;
    }
  }
  EXPECT_EQ(warned_at, (std::vector<double>{25, 50, 100, 200}));
  EXPECT_NE(text.find("<2> keeps the others waiting: at \"reading data\" of step 70 for 200 s"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("ranks 0, 1, 3 at \"gradient all-reduce, bucket 2\" of step 70"), std::string::npos)
      << text;
}

TEST(RankWatch, WorkThatNobodyWaitsForIsNoCauseToWarn) {
  Course run(2, 2);
  run.beats[0] = run.beats[1] = {5, 500, false, "computing"};
  run.second({});
  const auto name = [](int) { return std::string("x"); };
  EXPECT_EQ(run.watches[0].stuck(run.now_s, name), "");
  run.beats[0].waits = run.beats[1].waits = true;
  run.beats[1].work = "a broadcast";
  run.second({});
  const std::string text = run.watches[0].stuck(run.now_s, name);
  EXPECT_NE(text.find("all ranks wait for each other"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 1 at \"a broadcast\""), std::string::npos) << text;
  Course off(2, 2, {.silent_s = 0, .stuck_s = 0});
  off.beats = run.beats;
  for (int s = 0; s < 3; ++s) EXPECT_EQ(off.second({1}), Verdicts());
  EXPECT_EQ(off.watches[0].stuck(off.now_s, name), "");
}

}  // namespace
}  // namespace lockstep
