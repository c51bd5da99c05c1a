#include "jobs/step_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "io/files/metrics.h"

namespace lockstep {

namespace {

/// Seconds per training step, the slowest first.
std::vector<PlanStepTimes> means(std::span<const PlanStepTimes> before, std::span<const PlanStepTimes> after,
                                 double n_steps) {
  std::vector<PlanStepTimes> rows;
  for (size_t s = 0; s < after.size(); ++s) {
    PlanStepTimes& row = rows.emplace_back();
    row.step = after[s].step;
    row.add(after[s], 1 / n_steps);
    row.add(before[s], -1 / n_steps);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const PlanStepTimes& a, const PlanStepTimes& b) { return a.total() > b.total(); });
  return rows;
}

}  // namespace

std::string profile_table(std::span<const PlanStepTimes> before, std::span<const PlanStepTimes> after,
                          double n_steps, double step_s) {
  std::string text = fmt::format("{:>10} {:>10} {:>10} {:>10} {:>8}  {}\n", "forward", "backward",
                                 "gradient +", "packing", "share", "milliseconds of each step of the plan");
  std::vector<PlanStepTimes> rows = means(before, after, n_steps);
  PlanStepTimes sum;
  for (const PlanStepTimes& row : rows) sum.add(row);
  sum.step = "all";
  rows.push_back(sum);
  for (const PlanStepTimes& row : rows) {
    text += fmt::format("{:10.3f} {:10.3f} {:10.3f} {:10.3f} {:6.1f} %  {}\n", 1e3 * row.forward,
                        1e3 * row.backward, 1e3 * row.gradient_sums, 1e3 * row.prepare,
                        100 * row.total() / step_s, row.step);
  }
  return text;
}

std::string profile_json(std::span<const PlanStepTimes> before, std::span<const PlanStepTimes> after,
                         double n_steps) {
  std::vector<std::string> items;
  for (const PlanStepTimes& row : means(before, after, n_steps)) {
    JsonObject item;
    item.set("step", row.step).set("forward_ms", 1e3 * row.forward).set("backward_ms", 1e3 * row.backward);
    item.set("gradient_sums_ms", 1e3 * row.gradient_sums).set("packing_ms", 1e3 * row.prepare);
    items.push_back(item.str());
  }
  return fmt::format("[{}]", fmt::join(items, ", "));
}

}  // namespace lockstep
