// The rounds of all ranks, walked in one process: sums of whole runs of ranks have the serial tree's bits, no
// exchange touches what another of its round touches, and long vectors move 2(P-1)/P of themselves per rank.
#include "comm/reduction/tree_rounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

void expect_apart(Ranges ranges, const char* what) {
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) EXPECT_LE(ranges[i - 1].second, ranges[i].first) << what;
}

/// One round of one rank reads and writes each place once.
void expect_no_clash(const TreeRound& round) {
  Ranges read, received, summed;
  for (const TreeStep& step : round) {
    read.emplace_back(step.send, step.send + step.n_send);
    if (step.scratch >= 0)
      received.emplace_back(step.scratch, step.scratch + step.n_receive);
    else
      summed.emplace_back(step.receive, step.receive + step.n_receive);
  }
  expect_apart(received, "scratch");
  // What is received in place is not what is sent: both happen at once.
  summed.insert(summed.end(), read.begin(), read.end());
  expect_apart(summed, "vector");
}

struct Walked {
  std::vector<std::vector<float>> vectors;  // by rank
  int64_t most_sent = 0;                    // elements, of one rank
  size_t n_rounds = 0;
};

Walked walk(int size, int64_t n, const RoundTuning& tuning) {
  std::vector<std::vector<TreeRound>> rounds;
  std::vector<std::vector<float>> scratch;
  std::vector<int64_t> sent(static_cast<size_t>(size));
  Walked result;
  for (int r = 0; r < size; ++r) {
    rounds.push_back(tree_rounds(r, size, n, tuning));
    scratch.emplace_back(static_cast<size_t>(scratch_elements(rounds.back())));
    result.vectors.push_back(vector_of<float>(r, n));
  }
  result.n_rounds = rounds[0].size();
  for (size_t k = 0; k < result.n_rounds; ++k) {
    std::map<std::pair<int, int>, std::vector<std::vector<float>>> messages;  // from, to; in order
    for (int r = 0; r < size; ++r) {
      expect_no_clash(rounds[size_t(r)][k]);
      for (const TreeStep& step : rounds[size_t(r)][k]) {
        const auto first = result.vectors[size_t(r)].begin() + step.send;
        if (step.n_send > 0) messages[{r, step.partner}].emplace_back(first, first + step.n_send);
        sent[size_t(r)] += step.n_send;
      }
    }
    for (int r = 0; r < size; ++r) {
      std::map<int, size_t> n_taken;
      for (const TreeStep& step : rounds[size_t(r)][k]) {
        if (step.n_receive == 0) continue;
        const auto& queue = messages[{step.partner, r}];
        const size_t turn = n_taken[step.partner]++;
        if (turn >= queue.size() || int64_t(queue[turn].size()) != step.n_receive) {
          ADD_FAILURE() << "rank " << r << " expects another message in round " << k;
          return result;
        }
        const std::vector<float>& message = queue[turn];
        float* own = result.vectors[size_t(r)].data() + step.receive;
        for (int64_t i = 0; i < step.n_receive; ++i)
          own[i] = step.scratch < 0   ? message[size_t(i)]
                   : step.partner < r ? message[size_t(i)] + own[i]
                                      : own[i] + message[size_t(i)];
      }
      for (const auto& [partner, n_messages] : n_taken)
        EXPECT_EQ(n_messages, (messages[{partner, r}].size()));
    }
  }
  result.most_sent = *std::max_element(sent.begin(), sent.end());
  return result;
}

TEST(TreeRounds, GiveTheSerialTree) {
  int n_compared = 0;
  for (const int size : {2, 4, 8, 32}) {
    for (const int64_t n : {1, 2, 3, 7, 31, 32, 33, 64, 100, 257, 1000, 1023}) {
      const std::vector<float> expected = tree_sum<float>(0, size, n);
      for (const RoundTuning& tuning :
           {RoundTuning{}, RoundTuning{0, 1, 1}, RoundTuning{0, 100, 1}, RoundTuning{0, 96, 8},
            RoundTuning{30, 1 << 20, 4}, RoundTuning{0, 250, 64}}) {
        const Walked walked = walk(size, n, tuning);
        for (const std::vector<float>& vector : walked.vectors) {
          EXPECT_TRUE(same_bits(vector, expected)) << size << " ranks, " << n << " elements";
          ++n_compared;
        }
      }
    }
  }
  EXPECT_EQ(n_compared, (2 + 4 + 8 + 32) * 12 * 6);
}

TEST(TreeRounds, LongVectorsMoveLittle) {
  constexpr int64_t kLength = 1 << 16;
  const Walked one_block = walk(8, kLength, RoundTuning{0, kLength, 64});
  EXPECT_EQ(one_block.most_sent, 2 * 7 * kLength / 8);
  EXPECT_EQ(one_block.n_rounds, 6u);
  const Walked blocks = walk(8, kLength, RoundTuning{0, kLength / 4, 64});
  EXPECT_EQ(blocks.most_sent, 2 * 7 * kLength / 8);
  EXPECT_EQ(blocks.n_rounds, 6u + 3u);
  EXPECT_EQ(walk(8, kLength, RoundTuning{kLength, 64, 64}).n_rounds, 3u);
}

TEST(TreeRounds, NothingToDo) {
  EXPECT_TRUE(tree_rounds(0, 1, 100, RoundTuning{}).empty());
  EXPECT_TRUE(tree_rounds(3, 8, 0, RoundTuning{}).empty());
  EXPECT_EQ(scratch_elements({}), 0);
}

TEST(TreeRounds, ScratchIsABlockAndItsEdges) {
  const RoundTuning tuning;
  for (int rank = 0; rank < 8; ++rank) {
    EXPECT_LE(scratch_elements(tree_rounds(rank, 8, 100'000'001, tuning)),
              tuning.n_block + 3 * tuning.alignment);
    EXPECT_EQ(scratch_elements(tree_rounds(rank, 8, 1001, tuning)), 1001);
  }
}

}  // namespace
}  // namespace lockstep
