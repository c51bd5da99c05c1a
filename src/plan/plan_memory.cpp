// Placing: every value, gradient and workspace gets its place in one block by its lifetime,
// counted in calls: from the call that writes it to the last one that reads it.
#include <algorithm>

#include "src/plan/memory_plan.h"
#include "src/plan/plan_impl.h"

namespace lockstep {

std::shared_ptr<Memory> Plan::Impl::room_for(int64_t n_bytes,
                                             std::shared_ptr<Memory> PlanRoom::*shared) const {
  std::shared_ptr<Memory> memory = options.room ? (*options.room).*shared : nullptr;
  if (!memory || memory->n_bytes() < n_bytes)
    memory = std::make_shared<Memory>(options.config.device, n_bytes);
  if (options.room) (*options.room).*shared = memory;
  return memory;
}

Plan::Impl::Places Plan::Impl::place_memory() {
  const int end = static_cast<int>(forward_calls.size() + backward_calls.size());
  std::vector<BufferRequest> requests;
  const auto request = [&](int64_t n_bytes, int first, int last) {
    requests.push_back({n_bytes, first, last});
    return static_cast<int>(requests.size()) - 1;
  };

  const auto is_shown = [&](int v) {
    return std::find(shown_values.begin(), shown_values.end(), v) != shown_values.end();
  };
  const auto is_judged = [&](int v) {
    return options.keeps_judged && !losses.empty() && steps[losses[0].step].src[0] == v;
  };

  // Values. An alias lengthens the life of its root. Steps that never run have no times.
  std::vector<int> value_request(values.size(), -1);
  for (int v = 0; v < static_cast<int>(values.size()); ++v) {
    const PlanValue& value = values[v];
    if (values[value.root].producer < 0) continue;  // outside memory
    const PlanStep& producer = steps[value.producer];
    if (producer.forward_time < 0) continue;
    int last = producer.forward_time;
    if (producer.runs_backward && producer.op->info().backward_needs_dst) last = producer.backward_time;
    for (const PlanEdge& reader : value.readers) {
      const PlanStep& step = steps[reader.step];
      last = std::max(last, step.forward_time);
      if (step.runs_backward && step.op->info().backward_needs_src) last = std::max(last, step.backward_time);
    }
    const bool kept =
        v == output_value || is_shown(v) ||
        std::any_of(losses.begin(), losses.end(), [&](const PlanLoss& loss) { return loss.value == v; });
    const bool is_state =
        std::any_of(states.begin(), states.end(), [&](const PlanState& state) { return state.out == v; });
    if (kept || is_judged(v) || is_state) last = end;
    if (value.root == v) {
      value_request[v] = request(value.desc.n_bytes(), producer.forward_time, last);
    } else {
      BufferRequest& root = requests[value_request[value.root]];
      root.last = std::max(root.last, last);
    }
  }

  // Nobody else reads that value, neither later in the step nor afterwards.
  const auto may_be_overwritten = [&](int v) {
    const PlanValue& value = values[v];
    const bool is_alone = value.readers.size() == 1 && value.root == v && value_request[v] >= 0;
    const PlanStep& producer = steps[value.producer];
    return is_alone && !is_judged(v) && !is_shown(v) && options.config.training &&
           !(producer.runs_backward && producer.op->info().backward_needs_dst);
  };

  // Gradients, one per edge, alive from the reader's to the producer's backward. Where the
  // reader is a view, the gradient of its input is the memory of that of its output.
  std::map<PlanEdge, int> diff_request;
  for (const PlanCall& call : backward_calls) {
    if (!call.backward) continue;
    const PlanStep& step = steps[call.step];
    for (int slot = 0; slot < static_cast<int>(step.src.size()); ++slot) {
      const PlanValue& value = values[step.src[slot]];
      if (!value.wants_diff || value.producer < 0) continue;
      // The value's producer, or what repeats it, takes the gradient.
      int last = steps[value.producer].backward_time;
      for (const PlanStep& other : steps) {
        if (other.repeats == value.producer) last = std::max(last, other.backward_time);
      }
      last = std::max(last, step.backward_time);
      const PlanEdge edge{call.step, slot};
      if (slot == 0 && step.op->info().diff_src_in_place && may_be_overwritten(step.src[0])) {
        // The value's last reader writes its gradient where the value was.
        const int shared = value_request[values[step.src[0]].root];
        requests[shared].last = std::max(requests[shared].last, last);
        diff_request[edge] = shared;
      } else if (step.op->info().aliases_src) {
        const int shared = diff_request.at(gradient_edges(step.dst[0])[0]);
        requests[shared].last = std::max(requests[shared].last, last);
        diff_request[edge] = shared;
      } else {
        diff_request[edge] = request(value.desc.n_bytes(), step.backward_time, last);
      }
    }
  }

  std::vector<int> workspace_request(steps.size(), -1);
  for (size_t s = 0; s < steps.size(); ++s) {
    const PlanStep& step = steps[s];
    const int64_t n_bytes = step.op->info().workspace_bytes;
    if (n_bytes > 0 && step.forward_time >= 0)
      workspace_request[s] =
          request(n_bytes, step.forward_time, step.runs_backward ? step.backward_time : step.forward_time);
  }

  // Gradients of shared parameters: the first to come writes the arena, the others beside it.
  std::map<int, std::vector<int>> param_request;
  std::vector<int64_t> written;
  for (const PlanCall& call : backward_calls) {
    const PlanStep& step = steps[call.step];
    if (!call.backward || step.vertex < 0) continue;
    std::vector<int>& beside = param_request[call.step];
    for (const Segment* segment : arena.of_vertex(graph, step.vertex)) {
      const bool is_first = std::find(written.begin(), written.end(), segment->offset) == written.end();
      if (is_first) written.push_back(segment->offset);
      beside.push_back(is_first ? -1
                                : request(segment->n_elements() * 4, step.backward_time, step.backward_time));
    }
  }

  const MemoryPlan plan = plan_memory(requests, options.reuse_memory);
  block_bytes = std::max<int64_t>(plan.n_bytes, 64);
  block = room_for(block_bytes, &PlanRoom::block);
  Places places;
  places.value.assign(values.size(), -1);
  for (size_t v = 0; v < values.size(); ++v) {
    if (value_request[values[v].root] >= 0) places.value[v] = plan.offsets[value_request[values[v].root]];
  }
  for (const auto& [edge, id] : diff_request) places.diff[edge] = plan.offsets[id];
  places.workspace.assign(steps.size(), -1);
  for (size_t s = 0; s < steps.size(); ++s) {
    if (workspace_request[s] >= 0) places.workspace[s] = plan.offsets[workspace_request[s]];
  }
  for (const auto& [step, ids] : param_request) {
    for (int id : ids) places.params[step].push_back(id >= 0 ? plan.offsets[id] : -1);
  }
  return places;
}

}  // namespace lockstep
