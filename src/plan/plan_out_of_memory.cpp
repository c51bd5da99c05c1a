// What to say when a plan does not fit into the memory of its device: what the memory is for, the
// largest values, and the micro-batch that would fit. All but weights grows with the micro-batch.
#include <fmt/format.h>

#include <algorithm>

#include "src/plan/plan_impl.h"

namespace lockstep {

namespace {

constexpr size_t kNamed = 4;  // of the largest values

std::string mib(int64_t n_bytes) {
  const double value = static_cast<double>(n_bytes) / (1 << 20);
  return fmt::format("{:.{}f} MiB", value, value < 10 ? 1 : 0);
}

}  // namespace

void Plan::Impl::explain(const OutOfMemory& error) const {
  if (block_bytes == 0) {
    throw OutOfMemory(error.device(), error.n_bytes(), error.where(),
                      error.reason() + ": layers keep their weights in a second form, packed for products",
                      "take a smaller model, or a device with more memory");
  }
  int64_t scratch_bytes = 0, input_bytes = 0;
  std::vector<std::pair<int64_t, std::string>> consumers;
  for (const PlanStep& step : steps) {
    const OpInfo& info = step.op->info();
    scratch_bytes = std::max(scratch_bytes, info.scratchpad_bytes);
    int64_t n_bytes = info.workspace_bytes;
    for (int v : step.dst) n_bytes += values[v].root == v ? values[v].desc.n_bytes() : 0;
    if (step.repeats < 0) consumers.emplace_back(n_bytes, step.name);
  }
  for (const std::vector<int>* ids : {&input_values, &target_values})
    for (int v : *ids) input_bytes += values[v].desc.n_bytes();
  const int64_t wanted = block_bytes + scratch_bytes + input_bytes;
  const int64_t available = free_bytes(options.config.device) + (block ? block->n_bytes() : 0) +
                            (scratchpad ? scratchpad->n_bytes() : 0);  // these it got

  std::stable_sort(consumers.begin(), consumers.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string largest;
  for (size_t i = 0; i < std::min(kNamed, consumers.size()); ++i)
    largest += fmt::format("{}{} {}", i > 0 ? ", " : "", consumers[i].second, mib(consumers[i].first));

  const int64_t n = options.micro_batch;
  int64_t fitting = n;
  while (fitting % 2 == 0 && wanted / n * fitting > available) fitting /= 2;
  const bool fits = fitting < n && wanted / n * fitting <= available;
  throw OutOfMemory(
      error.device(), error.n_bytes(), error.where(),
      fmt::format(
          "a micro-batch of {} needs {} for values and gradients of layers, {} of scratch memory and {} "
          "of input, and {} are free; the largest values: {}",
          n, mib(block_bytes), mib(scratch_bytes), mib(input_bytes), mib(available), largest),
      fmt::format("{}write recompute: true at blocks of layers, or take a device with more memory",
                  fits ? fmt::format("set batch.micro={}, which needs about {}; or ", fitting,
                                     mib(wanted / n * fitting))
                       : ""));
}

}  // namespace lockstep
