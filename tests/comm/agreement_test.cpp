// Agreement: an error on any rank becomes the same exception, with the same text, on all.
#include "comm/agreement.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace lockstep {
namespace {

/// The text of the AgreedError that `work` throws through all_or_none, or "" if none.
std::string agreed_text(Communicator& world, const std::function<void()>& work) {
  try {
    all_or_none(world, work);
  } catch (const AgreedError& error) {
    return error.what();
  }
  return "";
}

void expect_same_everywhere(Communicator& world, const std::string& text) {
  for (const std::string& other : world.all_gather_strings(text)) EXPECT_EQ(other, text);
}

TEST(AllOrNone, SuccessPassesAndWorkRunsOnEveryRank) {
  Communicator world = Communicator::world();
  int n_runs = 0;
  EXPECT_EQ(agreed_text(world, [&] { ++n_runs; }), "");
  EXPECT_EQ(n_runs, 1);
}

TEST(AllOrNone, AnyFailingRankIsReportedAlikeOnAll) {
  Communicator world = Communicator::world();
  for (int failing = 0; failing < world.size(); ++failing) {
    const std::string text = agreed_text(world, [&] {
      if (world.rank() == failing)
        throw Error("shard.h5", "cannot read from rank " + std::to_string(failing), "copy it again");
    });
    expect_same_everywhere(world, text);
    EXPECT_NE(text.find("shard.h5: cannot read from rank " + std::to_string(failing)), std::string::npos)
        << text;
    EXPECT_NE(text.find("remedy: copy it again"), std::string::npos) << text;
    const bool prefixed = text.find("rank " + std::to_string(failing) + " on ") == 0;
    EXPECT_EQ(prefixed, world.size() > 1) << text;
  }
}

TEST(AllOrNone, TheLowestFailingRankSpeaks) {
  Communicator world = Communicator::world();
  const int lowest = world.size() / 2;
  const std::string text = agreed_text(world, [&] {
    if (world.rank() >= lowest) throw std::runtime_error("failure of " + std::to_string(world.rank()));
  });
  expect_same_everywhere(world, text);
  EXPECT_NE(text.find("failure of " + std::to_string(lowest)), std::string::npos) << text;
}

TEST(AllOrNone, OtherThingsThrownAreReportedToo) {
  Communicator world = Communicator::world();
  const std::string text = agreed_text(world, [&] {
    if (world.is_root()) throw 42;
  });
  expect_same_everywhere(world, text);
  EXPECT_NE(text.find("unknown exception"), std::string::npos) << text;
}

TEST(AllOrNone, AnAgreedErrorPassesThroughUnchanged) {
  Communicator world = Communicator::world();
  std::string inner;
  const std::string outer = agreed_text(world, [&] {
    try {
      all_or_none(world, [&] {
        if (world.rank() == world.size() - 1) throw Error("inner", "went wrong");
      });
    } catch (const AgreedError& error) {
      inner = error.what();
      throw;
    }
  });
  EXPECT_FALSE(inner.empty());
  EXPECT_EQ(outer, inner);
}

TEST(CheckOnRoot, RunsOnRootOnlyAndSharesTheVerdict) {
  Communicator world = Communicator::world();
  int n_runs = 0;
  EXPECT_NO_THROW(check_on_root(world, [&] { ++n_runs; }));
  EXPECT_EQ(n_runs, world.is_root() ? 1 : 0);

  std::string text;
  try {
    check_on_root(world, [] { throw Error("job.yaml:12: batch.global", "not divisible", "use 96 or 104"); });
  } catch (const AgreedError& error) {
    text = error.what();
    EXPECT_EQ(error.where(), "job.yaml:12: batch.global");
    EXPECT_EQ(error.remedy(), "use 96 or 104");
  }
  EXPECT_EQ(text, "job.yaml:12: batch.global: not divisible\n  remedy: use 96 or 104");
  expect_same_everywhere(world, text);
}

TEST(CheckOnRoot, WorldGoesOnAfterAFailure) {
  Communicator world = Communicator::world();
  EXPECT_THROW(check_on_root(world, [] { throw std::runtime_error("no"); }), AgreedError);
  EXPECT_EQ(world.all_reduce_sum(1), world.size());
}

}  // namespace
}  // namespace lockstep
