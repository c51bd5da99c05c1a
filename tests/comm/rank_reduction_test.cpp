// Sums through shared memory and between hosts: bits against the serial tree on any number of ranks, with
// hosts pretended among the ranks of one machine; exactly summable numbers against MPI where the order is
// free; ranks that disagree, come late or never.
#include "comm/reduction/rank_reduction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "comm/mpi_check.h"
#include "kernels/error.h"
#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

// Around whole vectors, slices and blocks.
const std::vector<int64_t> kLengths{0, 1, 2, 3, 15, 16, 17, 257, 4096, 4099, 65536, 131075};
constexpr int64_t kGuards = 16;

template <typename T>
constexpr T kGuard = T(-12345.5);

bool is_power_of_two(int n) { return std::has_single_bit(unsigned(n)); }

/// The serial tree over all ranks.
template <typename T>
const std::vector<T>& expected_sum(const Communicator& world, int64_t n) {
  static std::map<int64_t, std::vector<T>> sums;
  std::vector<T>& sum = sums[n];
  if (sum.empty()) sum = tree_sum<T>(0, world.size(), n);
  return sum;
}

/// Sums vectors that begin at an odd place between guards; the number of comparisons.
template <typename T>
int expect_tree_bits(RankReduction& ranks, const Communicator& world, Reduction reduction) {
  int n_compared = 0;
  for (const int64_t n : kLengths) {
    std::vector<T> room(size_t(n + 2 * kGuards + 1), kGuard<T>);
    T* values = room.data() + kGuards + 1;
    std::ranges::copy(vector_of<T>(world.rank(), n), values);
    ranks.all_reduce(values, n, reduction);
    EXPECT_EQ(std::count(room.begin(), room.begin() + kGuards + 1, kGuard<T>), kGuards + 1);
    EXPECT_EQ(std::count(room.end() - kGuards, room.end(), kGuard<T>), kGuards);
    EXPECT_TRUE(same_bits(std::vector<T>(values, values + n), expected_sum<T>(world, n))) << "n = " << n;
    ++n_compared;
  }
  return n_compared;
}

TEST(RankReduction, OneHostAddsInTheTreeWhateverTheReduction) {
  Communicator world = Communicator::world();
  RankReduction ranks(world);
  int n_compared = 0;
  for (const Reduction reduction : {Reduction::kTree, Reduction::kNative, Reduction::kHierarchical}) {
    if (reduction == Reduction::kTree && !is_power_of_two(world.size())) {
      float value = 1;
      EXPECT_THROW(ranks.all_reduce(&value, 1, reduction), Error);
      continue;
    }
    n_compared += expect_tree_bits<float>(ranks, world, reduction);
    n_compared += expect_tree_bits<double>(ranks, world, reduction);
  }
  EXPECT_GE(n_compared, 4 * int(kLengths.size()));
}

TEST(RankReduction, SeveralHostsKeepTheTree) {
  Communicator world = Communicator::world();
  if (!is_power_of_two(world.size())) GTEST_SKIP() << "the tree is for powers of two";
  int n_compared = 0;
  for (const int per_host : {1, 2, 3, 4, 8}) {  // 3: hosts that are no subtrees
    RankReduction ranks(world, {per_host, {}}),
        in_small_blocks(world, {per_host, HostTuning{10000, 0, 5000, 0}});
    n_compared += expect_tree_bits<float>(ranks, world, Reduction::kTree);
    n_compared += expect_tree_bits<double>(in_small_blocks, world, Reduction::kTree);
  }
  EXPECT_EQ(n_compared, 10 * int(kLengths.size()));
}

TEST(RankReduction, WholeNumbersAcrossHostsAreMpis) {
  Communicator world = Communicator::world();
  int n_compared = 0;
  for (const int per_host : {1, 2, 3, 5}) {  // the last host may have fewer ranks
    RankReduction ranks(world, {per_host, HostTuning{100000, 0, 5000, 0}});
    for (const Reduction reduction : {Reduction::kNative, Reduction::kHierarchical}) {
      for (const int64_t n : kLengths) {
        std::vector<float> values(static_cast<size_t>(n));
        for (size_t i = 0; i < values.size(); ++i)
          values[i] = float((i * 7 + size_t(world.rank()) * 13) % 101) - 50;
        std::vector<float> expected = values;
        MPI_Allreduce(MPI_IN_PLACE, expected.data(), int(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        ranks.all_reduce(values.data(), n, reduction);
        EXPECT_EQ(values, expected) << n << " elements, " << per_host << " ranks per host";
        ++n_compared;
      }
    }
  }
  EXPECT_EQ(n_compared, 8 * int(kLengths.size()));
}

TEST(RankReduction, SharedMemoryIsSummedInPlace) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank shares nothing";
  const Reduction reduction = is_power_of_two(world.size()) ? Reduction::kTree : Reduction::kHierarchical;
  const int64_t n = 200003;
  int n_compared = 0;
  for (const int per_host : {0, 2, 4}) {
    const bool one_host = per_host == 0 || per_host >= world.size();
    if (!one_host && !is_power_of_two(world.size())) continue;  // the order between hosts is MPI's
    RankReduction ranks(world, {per_host, {}});
    auto* values = reinterpret_cast<float*>(ranks.shared_memory(n * int64_t{sizeof(float)}));
    ASSERT_NE(values, nullptr);
    for (const int64_t cut : {int64_t{0}, int64_t{1}, int64_t{70001}, n}) {
      std::ranges::copy(vector_of<float>(world.rank(), n), values);
      ranks.all_reduce(values + cut, n - cut, reduction);
      ranks.all_reduce(values, cut, reduction);
      EXPECT_TRUE(same_bits(std::vector<float>(values, values + n), expected_sum<float>(world, n)));
      ++n_compared;
      // The others are through with this rank's memory when the sum is there: it may be written at once.
    }
    EXPECT_EQ(expect_tree_bits<float>(ranks, world, reduction), int(kLengths.size()));  // elsewhere: staged
  }
  EXPECT_GE(n_compared, 4);
}

/// All ranks' own parts, each of which must hold what `expected` does; returns how often elements are owned.
std::vector<float> check_own_parts(RankReduction& ranks, Reduction reduction, const float* values,
                                   const std::vector<float>& expected) {
  const auto n = int64_t(expected.size());
  std::vector<float> n_owners(expected.size(), 0);
  int64_t last = 0;
  for (const ElementRange& part : ranks.own_parts(n, reduction)) {
    EXPECT_LE(last, part.begin);
    EXPECT_LT(part.begin, part.end);
    EXPECT_EQ(part.begin % kPartAlignment, 0);
    last = part.end;
    EXPECT_EQ(std::memcmp(values + part.begin, expected.data() + part.begin, size_t(part.n()) * 4), 0);
    std::fill(n_owners.begin() + part.begin, n_owners.begin() + part.end, 1.0f);
  }
  MPI_Allreduce(MPI_IN_PLACE, n_owners.data(), int(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  return n_owners;
}

TEST(RankReduction, ScatteredSumsAreThoseOfTheTreeAndComeTogetherAgain) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank owns all";
  int n_compared = 0;
  for (const int per_host : {0, 1, 2, 3}) {
    for (const Reduction reduction : {Reduction::kTree, Reduction::kNative, Reduction::kHierarchical}) {
      if (reduction == Reduction::kTree && !is_power_of_two(world.size())) continue;
      const bool exact_order = reduction == Reduction::kTree || per_host == 0;
      RankReduction ranks(world, {per_host, {}});
      auto* shared = reinterpret_cast<float*>(ranks.shared_memory(300007 * int64_t{sizeof(float)}));
      for (const int64_t n : {int64_t{1}, int64_t{33}, int64_t{4099}, int64_t{131075}, int64_t{300007}}) {
        std::vector<float> own_memory(static_cast<size_t>(n));
        float* values = shared ? shared : own_memory.data();
        std::vector<float> leaf = vector_of<float>(world.rank(), n), expected = expected_sum<float>(world, n);
        if (!exact_order) {
          for (size_t i = 0; i < leaf.size(); ++i)
            leaf[i] = float((i * 7 + size_t(world.rank()) * 13) % 101) - 50;
          expected = leaf;
          MPI_Allreduce(MPI_IN_PLACE, expected.data(), int(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        }
        std::ranges::copy(leaf, values);
        ranks.reduce_scatter(values, n, reduction);
        EXPECT_EQ(check_own_parts(ranks, reduction, values, expected), std::vector<float>(size_t(n), 1.0f));

        // What is gathered need not lie where the sums did: weights have memory of their own.
        std::vector<float> room(size_t(n) + 2 * kGuards, kGuard<float>);
        float* weights = room.data() + kGuards;
        for (const ElementRange& part : ranks.own_parts(n, reduction))
          std::copy_n(values + part.begin, part.n(), weights + part.begin);
        ranks.all_gather(weights, n, reduction);
        EXPECT_TRUE(same_bits(std::vector<float>(weights, weights + n), expected))
            << n << " elements, " << per_host << " ranks per host";
        EXPECT_EQ(std::count(room.begin(), room.end(), kGuard<float>), 2 * kGuards);
        ++n_compared;
        world.barrier();  // the next vector overwrites what others may still read
      }
    }
  }
  EXPECT_GE(n_compared, 8 * 5);
}

TEST(RankReduction, AsBFloat16EverySumIsRoundedWhereverItIsMade) {
  Communicator world = Communicator::world();
  if (!is_power_of_two(world.size())) GTEST_SKIP() << "the tree is for powers of two";
  int n_compared = 0;
  for (const int per_host : {0, 1, 2, 3}) {
    RankReduction ranks(world, {per_host, {}}, Wire::kBFloat16);
    for (const int64_t n : kLengths) {
      const std::vector<float> expected = rounded_tree_sum(0, world.size(), n);
      std::vector<float> values = rounded_vector_of(world.rank(), n);
      ranks.all_reduce(values.data(), n, Reduction::kTree);
      EXPECT_TRUE(same_bits(values, expected)) << n << " elements, " << per_host << " ranks per host";

      values = rounded_vector_of(world.rank(), n);
      ranks.reduce_scatter(values.data(), n, Reduction::kTree);
      if (n > 0) check_own_parts(ranks, Reduction::kTree, values.data(), expected);
      std::vector<double> exact(3, 1.0 / 3);  // only floats are rounded
      ranks.all_reduce(exact.data(), 3, Reduction::kTree);
      EXPECT_NEAR(exact[2], world.size() / 3.0, 1e-12);
      ++n_compared;
    }
  }
  EXPECT_EQ(n_compared, 4 * int(kLengths.size()));
}

TEST(RankReduction, ManyCallsByUnevenRanks) {
  Communicator world = Communicator::world();
  RankReduction ranks(world);
  const std::vector<int64_t> lengths{5, 70000, 1, 20000, 4097, 140000};
  int n_wrong = 0, n_calls = 0;
  for (int call = 0; call < 120; ++call) {
    if ((call * 5 + world.rank() * 3) % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    std::vector<float> values(size_t(lengths[size_t(call) % lengths.size()]));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = float((i + size_t(call)) % 1000 + size_t(world.rank()));
    ranks.all_reduce(values.data(), int64_t(values.size()), Reduction::kNative);
    const int offsets = world.size() * (world.size() - 1) / 2;
    for (size_t i = 0; i < values.size(); ++i)
      n_wrong += values[i] != float(int((i + size_t(call)) % 1000) * world.size() + offsets);
    ++n_calls;
  }
  EXPECT_EQ(n_wrong, 0);
  EXPECT_EQ(n_calls, 120);
}

TEST(RankReduction, EveryTuningOfAHostGivesTheTree) {
  Communicator world = Communicator::world();
  int n_compared = 0;
  for (const HostTuning& tuning : {HostTuning{64, 0, 0, 0}, HostTuning{1000, 0, 1 << 20, 0},
                                   HostTuning{4096, 64, 0, 4096}, HostTuning{1 << 20, 1 << 20, 0, 1 << 20}}) {
    for (const int n_owners : {1, world.size()}) {
      std::unique_ptr<HostReduction> host = HostReduction::make(mpi_comm(world), n_owners, tuning);
      ASSERT_NE(host, nullptr);
      for (const int64_t n : {1, 16, 17, 1000, 5003}) {
        std::vector<double> values = vector_of<double>(world.rank(), n);
        host->all_reduce<double>(values.data(), n, {}, {});
        EXPECT_TRUE(same_bits(values, expected_sum<double>(world, n)));
        ++n_compared;
      }
    }
  }
  EXPECT_EQ(n_compared, 40);
}

TEST(RankReduction, RanksThatDisagreeAllHearOfIt) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  for (const int64_t longer : {1001, 100000}) {
    RankReduction ranks(world);
    const bool last = world.rank() + 1 == world.size();
    std::vector<float> values(size_t(last ? longer : 1000), 1.0f);
    try {
      ranks.all_reduce(values.data(), int64_t(values.size()), Reduction::kNative);
      ADD_FAILURE() << "a sum of different lengths";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("ranks disagree"), std::string::npos) << error.what();
    }
    world.barrier();
  }
}

TEST(RankReduction, WaitingEndsWhenAbandoned) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank waits for nobody";
  for (const int64_t n : {100, 300000}) {
    for (const bool in_a_hurry : {false, true}) {
      RankReduction ranks(world);
      if (!world.is_root()) {  // rank 0 never comes
        std::atomic<bool> hurry{in_a_hurry}, abandon{false};
        std::vector<float> values(size_t(n), 1.0f);
        std::thread owner([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          abandon = true;
        });
        EXPECT_THROW(ranks.all_reduce(values.data(), n, Reduction::kNative, Patience{&hurry, &abandon}),
                     Error);
        owner.join();
      }
      world.barrier();
    }
  }
}

}  // namespace
}  // namespace lockstep
