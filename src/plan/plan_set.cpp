#include "src/plan/plan_set.h"

namespace lockstep {

PlanSet::PlanSet(const std::vector<const Graph*>& graphs, const ParameterArena& arena,
                 const std::vector<LossSpec>& losses, PlanOptions options) {
  plans_.resize(graphs.size());
  if (!options.stream) options.stream = make_stream(options.config.device);
  stream_ = options.stream;
  if (graphs.size() > 1) options.room = std::make_shared<PlanRoom>();
  for (size_t i = graphs.size(); i-- > 0;)  // the longest needs the most memory, and comes first
    plans_[i].plan = std::make_unique<Plan>(*graphs[i], arena, losses, options);
}

void PlanSet::weights_changed() {
  for (Member& member : plans_) member.is_stale = true;
}

void PlanSet::refresh(int bucket) {
  Member& member = plans_[static_cast<size_t>(bucket)];
  if (!member.is_stale) return;
  member.plan->refresh_weights();
  member.is_stale = false;
}

}  // namespace lockstep
