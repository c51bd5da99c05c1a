// The reducer thread: same bits as one all-reduce whatever the buckets and their order,
// errors transported to wait(), and a destructor that returns when peers never come.
#include "comm/reduction/gradient_reducer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "kernels/error.h"
#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

constexpr int64_t kLength = 200003;

/// For tests that cut a reduction off: messages already sent cannot be withdrawn, so MPI may
/// read their buffer later, as long as the process lives.
std::vector<float>& immortal_gradients(int64_t n) {
  return *new std::vector<float>(static_cast<size_t>(n), 1.0f);
}

std::vector<Bucket> equal_buckets(int64_t n, int64_t bucket) {
  std::vector<Bucket> buckets;
  for (int64_t begin = 0; begin < n; begin += bucket) buckets.push_back({begin, std::min(n, begin + bucket)});
  return buckets;
}

TEST(GradientReducer, EveryCutAndOrderGivesTheTree) {
  Communicator world = Communicator::world();
  const std::vector<float> expected = tree_sum<float>(0, world.size(), kLength);
  int n_compared = 0;
  for (const int64_t bucket : {int64_t{1000}, int64_t{4099}, int64_t{65536}, kLength}) {
    GradientReducer reducer(world, Reduction::kTree, equal_buckets(kLength, bucket));
    const int n_buckets = int(reducer.buckets().size());
    for (const bool reversed : {false, true}) {  // two rounds on one reducer: it is reused each step
      std::vector<float> gradients = vector_of<float>(world.rank(), kLength);
      for (int k = 0; k < n_buckets; ++k)
        reducer.bucket_ready(reversed ? n_buckets - 1 - k : k, gradients.data());
      EXPECT_GE(reducer.wait(), 0.0);
      // One rank has nothing to add: its vector stays as it is, which is the tree of one leaf.
      EXPECT_TRUE(same_bits(gradients, expected)) << "bucket of " << bucket;
      ++n_compared;
    }
  }
  EXPECT_EQ(n_compared, 8);
}

TEST(GradientReducer, UnevenRanksAndComputationInBetween) {
  Communicator world = Communicator::world();
  GradientReducer reducer(world, Reduction::kTree, equal_buckets(kLength, 30000));
  for (int step = 0; step < 5; ++step) {
    std::vector<float> gradients = vector_of<float>(world.rank() + 8 * step, kLength);
    for (int k = 0; k < int(reducer.buckets().size()); ++k) {
      std::this_thread::sleep_for(std::chrono::microseconds(300 * ((world.rank() + step) % 3)));
      reducer.bucket_ready(k, gradients.data());
      if (k == 3) reducer.wait();  // waiting early for what was handed in so far is fine
    }
    reducer.wait();
    EXPECT_TRUE(same_bits(gradients, tree_sum<float>(8 * step, world.size(), kLength))) << "step " << step;
  }
}

TEST(GradientReducer, NativeSumsWholeNumbersExactly) {
  Communicator world = Communicator::world();
  GradientReducer reducer(world, Reduction::kNative, equal_buckets(10007, 3000));
  std::vector<float> gradients(10007), expected(10007);
  for (size_t i = 0; i < gradients.size(); ++i) {
    gradients[i] = float(i % 97) * float(world.rank() + 1);
    expected[i] = float(i % 97) * float(world.size() * (world.size() + 1) / 2);
  }
  for (int k = 0; k < 4; ++k) reducer.bucket_ready(k, gradients.data());
  reducer.wait();
  EXPECT_EQ(gradients, expected);
}

TEST(GradientReducer, ScattersSumsAndGathersWhatIsMadeOfThem) {
  Communicator world = Communicator::world();
  for (const int64_t bucket : {int64_t{1000}, int64_t{65536}, kLength}) {
    GradientReducer reducer(world, Reduction::kTree, equal_buckets(kLength, bucket), {}, {.scatters = true});
    const int n_buckets = int(reducer.buckets().size());
    std::vector<float> own_memory(kLength), weights(kLength, 0.0f);
    float* gradients = reducer.shared_gradients() ? reducer.shared_gradients() : own_memory.data();
    int64_t n_own = 0;
    for (const ElementRange& range : reducer.own_ranges()) n_own += range.n();
    EXPECT_EQ(world.all_reduce_sum(n_own), kLength);
    EXPECT_LE(n_own, kLength / world.size() + 2 * kPartAlignment * n_buckets);
    for (int step = 0; step < 3; ++step) {
      std::ranges::copy(vector_of<float>(world.rank() + 8 * step, kLength), gradients);
      for (int k = 0; k < n_buckets; ++k) reducer.bucket_ready(k, gradients);
      reducer.wait();
      for (const ElementRange& range : reducer.own_ranges())
        std::copy_n(gradients + range.begin, range.n(), weights.begin() + range.begin);
      for (int k = n_buckets; k-- > 0;) reducer.gather(k, weights.data());
      reducer.wait();
      EXPECT_TRUE(same_bits(weights, tree_sum<float>(8 * step, world.size(), kLength))) << "step " << step;
    }
  }
}

TEST(GradientReducer, MainThreadMayCommunicateMeanwhile) {
  Communicator world = Communicator::world();
  GradientReducer reducer(world, Reduction::kTree, equal_buckets(kLength, 20000));
  std::vector<float> gradients = vector_of<float>(world.rank(), kLength);
  int64_t sum = 0;
  for (int k = 0; k < int(reducer.buckets().size()); ++k) {
    reducer.bucket_ready(k, gradients.data());
    sum += world.all_reduce_sum(1);
  }
  reducer.wait();
  EXPECT_EQ(sum, int64_t(reducer.buckets().size()) * world.size());
  EXPECT_TRUE(same_bits(gradients, tree_sum<float>(0, world.size(), kLength)));
}

TEST(GradientReducer, WaitWithNothingHandedInReturns) {
  Communicator world = Communicator::world();
  std::vector<float> gradients(10, 1.0f);
  GradientReducer reducer(world, Reduction::kTree, {{0, 10}});
  reducer.wait();
  reducer.bucket_ready(0, gradients.data());
  reducer.wait();
  EXPECT_EQ(gradients, std::vector<float>(10, float(world.size())));
  EXPECT_THROW(GradientReducer(world, Reduction::kTree, {{5, 3}}), Error);
}

TEST(GradientReducer, ErrorsOfTheCommThreadReachWait) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank starts no thread";
  // Ranks disagree about a bucket's length: MPI reports a truncated message to the shorter one.
  const int64_t n = world.rank() % 2 == 0 ? 2000 : 1000;
  std::vector<float>& gradients = immortal_gradients(2000);
  GradientReducer reducer(world, Reduction::kTree, {{0, n}});
  reducer.bucket_ready(0, gradients.data());
  if (n == 1000) {
    EXPECT_THROW(reducer.wait(), Error);
    reducer.bucket_ready(0, gradients.data());  // ignored: what follows a failure would hang
    EXPECT_THROW(reducer.wait(), Error);
  }
  world.barrier();
}

TEST(GradientReducer, DestructorReturnsWhenPeersNeverCome) {
  Communicator world = Communicator::world();
  std::vector<float>& gradients = immortal_gradients(kLength);
  const auto start = std::chrono::steady_clock::now();
  {
    GradientReducer reducer(world, Reduction::kTree, {{0, kLength}});
    if (world.is_root()) reducer.bucket_ready(0, gradients.data());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(world.all_reduce_sum(1), world.size());
}

}  // namespace
}  // namespace lockstep
