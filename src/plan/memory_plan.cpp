#include "src/plan/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace lockstep {

namespace {
constexpr int64_t kAlignment = 256;  // bytes: cache lines, AVX-512 vectors, GPU transactions
int64_t align_up(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }
}  // namespace

MemoryPlan plan_memory(const std::vector<BufferRequest>& requests, bool reuse) {
  MemoryPlan plan;
  plan.offsets.resize(requests.size());
  std::vector<int> order(requests.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return requests[a].n_bytes > requests[b].n_bytes; });

  std::vector<int> placed;  // ascending by offset
  for (int i : order) {
    const BufferRequest& request = requests[i];
    int64_t offset = 0;
    for (int other : placed) {
      const bool together =
          !reuse || (request.first <= requests[other].last && requests[other].first <= request.last);
      if (!together) continue;
      if (offset + align_up(request.n_bytes) <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + align_up(requests[other].n_bytes));
    }
    plan.offsets[i] = offset;
    plan.n_bytes = std::max(plan.n_bytes, offset + align_up(request.n_bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return plan.offsets[a] < plan.offsets[b]; }),
                  i);
  }
  return plan;
}

}  // namespace lockstep
