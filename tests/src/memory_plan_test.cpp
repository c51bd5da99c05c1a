// Memory planning against brute force: no two buffers that live at the same time share a byte.
#include "src/plan/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace lockstep {
namespace {

bool alive_together(const BufferRequest& a, const BufferRequest& b) {
  for (int t = a.first; t <= a.last; ++t) {
    if (t >= b.first && t <= b.last) return true;
  }
  return false;
}

int64_t round_up(int64_t n) { return (n + 255) / 256 * 256; }

/// Checks a plan; returns the number of pairs that had to be disjoint.
int64_t check(const std::vector<BufferRequest>& requests, const MemoryPlan& plan, bool reuse) {
  int64_t n_pairs = 0, sum = 0;
  EXPECT_EQ(plan.offsets.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_GE(plan.offsets[i], 0);
    EXPECT_EQ(plan.offsets[i] % 256, 0);
    EXPECT_LE(plan.offsets[i] + requests[i].n_bytes, plan.n_bytes);
    sum += round_up(requests[i].n_bytes);
    for (size_t j = 0; j < i; ++j) {
      if (reuse && !alive_together(requests[i], requests[j])) continue;
      ++n_pairs;
      const bool disjoint = plan.offsets[i] + requests[i].n_bytes <= plan.offsets[j] ||
                            plan.offsets[j] + requests[j].n_bytes <= plan.offsets[i];
      EXPECT_TRUE(disjoint) << "buffers " << i << " and " << j;
    }
  }
  EXPECT_LE(plan.n_bytes, sum);
  return n_pairs;
}

/// The most bytes alive at one time: no plan can need less.
int64_t peak(const std::vector<BufferRequest>& requests) {
  int64_t most = 0;
  for (const BufferRequest& at : requests) {
    int64_t now = 0;
    for (const BufferRequest& other : requests) {
      if (other.first <= at.first && at.first <= other.last) now += round_up(other.n_bytes);
    }
    most = std::max(most, now);
  }
  return most;
}

TEST(MemoryPlan, RandomRequestsNeverOverlap) {
  std::mt19937 random(7);
  int64_t n_pairs = 0, planned = 0, all = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<BufferRequest> requests(1 + random() % 40);
    for (BufferRequest& request : requests) {
      request.n_bytes = 1 + static_cast<int64_t>(random() % (random() % 4 == 0 ? 100000 : 1000));
      request.first = static_cast<int>(random() % 30);
      request.last = request.first + static_cast<int>(random() % 12);
    }
    const MemoryPlan reused = plan_memory(requests, true), separate = plan_memory(requests, false);
    n_pairs += check(requests, reused, true);
    n_pairs += check(requests, separate, false);
    EXPECT_GE(reused.n_bytes, peak(requests));
    int64_t sum = 0;
    for (const BufferRequest& request : requests) sum += round_up(request.n_bytes);
    EXPECT_EQ(separate.n_bytes, sum);
    planned += reused.n_bytes;
    all += sum;
  }
  EXPECT_GT(n_pairs, 50000);
  EXPECT_LT(planned, all * 7 / 10);  // reuse is worth something
}

TEST(MemoryPlan, LiteralCases) {
  EXPECT_EQ(plan_memory({}, true).n_bytes, 0);
  // A chain a -> b -> c: a and c share, b lies between.
  const MemoryPlan chain = plan_memory({{1000, 0, 1}, {500, 1, 2}, {1000, 2, 3}}, true);
  EXPECT_EQ(chain.offsets, (std::vector<int64_t>{0, 1024, 0}));
  EXPECT_EQ(chain.n_bytes, 1536);
  // Touching at one time is living together.
  EXPECT_EQ(plan_memory({{256, 0, 5}, {256, 5, 9}}, true).n_bytes, 512);
  EXPECT_EQ(plan_memory({{256, 0, 4}, {256, 5, 9}}, true).n_bytes, 256);
}

}  // namespace
}  // namespace lockstep
