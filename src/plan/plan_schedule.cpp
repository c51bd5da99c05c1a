// The order of calls: forward through the units; backward through them in reverse, where a
// block whose activations were not kept runs forward once more first. Also which steps run
// backward at all: those that a gradient of a loss reaches and that pass one on.
#include <algorithm>

#include "src/plan/plan_impl.h"

namespace lockstep {

std::vector<PlanEdge> Plan::Impl::gradient_edges(int value) const {
  // A repeated value takes the gradients of its original's readers too: those outside its block.
  std::vector<PlanEdge> edges = values[value].readers;
  if (const int original = values[value].repeats; original >= 0)
    edges.insert(edges.end(), values[original].readers.begin(), values[original].readers.end());
  std::erase_if(edges, [&](const PlanEdge& edge) { return !steps[edge.step].runs_backward; });
  // By the forward pass: the order of sums must not depend on which blocks are repeated.
  const auto rank = [&](const PlanEdge& edge) {
    const int original = steps[edge.step].repeats;
    return PlanEdge{original >= 0 ? original : edge.step, edge.slot};
  };
  std::sort(edges.begin(), edges.end(),
            [&](const PlanEdge& a, const PlanEdge& b) { return rank(a) < rank(b); });
  return edges;
}

void Plan::Impl::schedule() {
  for (const PlanUnit& unit : units) {
    for (int s = unit.first; s < unit.last; ++s) forward_calls.push_back({s, false});
  }
  calls_before_loss = forward_calls.size();
  for (size_t i = 0; i < forward_calls.size(); ++i) {
    steps[forward_calls[i].step].forward_time = static_cast<int>(i);
    if (!losses.empty() && forward_calls[i].step == losses[0].step) calls_before_loss = i;
  }
  if (!options.config.training) return;

  const auto is_loss = [&](int step) {
    return std::any_of(losses.begin(), losses.end(), [&](const PlanLoss& loss) { return loss.step == step; });
  };
  for (auto unit = units.rbegin(); unit != units.rend(); ++unit) {
    const int length = unit->last - unit->first;
    const int first = unit->again >= 0 ? unit->again : unit->first;
    bool any = false;
    for (int s = first + length - 1; s >= first; --s) {
      PlanStep& step = steps[s];
      const bool reached = is_loss(s) || std::any_of(step.dst.begin(), step.dst.end(), [&](int value) {
                             return !gradient_edges(value).empty();
                           });
      step.runs_backward = step.runs_backward && reached;
      any = any || step.runs_backward;
    }
    if (!any) continue;
    const auto call = [&](int s, bool backward) {
      (backward ? steps[s].backward_time : steps[s].forward_time) =
          static_cast<int>(forward_calls.size() + backward_calls.size());
      backward_calls.push_back({s, backward});
    };
    if (unit->again >= 0) {
      for (int s = first; s < first + length; ++s) call(s, false);
    }
    for (int s = first + length - 1; s >= first; --s) {
      if (steps[s].runs_backward) call(s, true);
    }
  }
}

}  // namespace lockstep
