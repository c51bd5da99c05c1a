// Binding: every step gets its tensors, once and for all.
#include <algorithm>

#include "kernels/elementwise.h"
#include "src/plan/plan_impl.h"

namespace lockstep {

void Plan::Impl::bind() {
  const Places places = place_memory();

  int64_t scratchpad_bytes = 64;
  for (const PlanStep& step : steps)
    scratchpad_bytes = std::max(scratchpad_bytes, step.op->info().scratchpad_bytes);
  scratchpad = room_for(scratchpad_bytes, &PlanRoom::scratchpad);

  const auto at = [&](int64_t offset) { return offset >= 0 ? block->at(offset) : nullptr; };
  const auto diff_at = [&](const PlanEdge& edge) -> std::byte* {
    const auto place = places.diff.find(edge);
    return place == places.diff.end() ? nullptr : block->at(place->second);
  };

  for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
    PlanStep& step = steps[s];
    for (int v : step.src) step.src_t.push_back({at(places.value[v]), values[v].desc});
    for (int v : step.dst) step.dst_t.push_back({at(places.value[v]), values[v].desc});
    if (step.vertex >= 0) {
      const auto beside = places.params.find(s);
      for (const Segment* segment : arena.of_vertex(graph, step.vertex)) {
        const TensorDesc desc{segment->shape, DType::kFloat32, nullptr};
        const size_t i = step.params_t.size();
        step.params_t.push_back({arena.weights_of(*segment), desc});
        const int64_t place = beside != places.params.end() ? beside->second[i] : -1;
        step.diff_params_t.push_back({at(place), desc});
        step.adds_params.push_back(place >= 0);
        step.param_offsets.push_back(segment->offset);
        step.reads_from = std::min(step.reads_from, segment->offset);
      }
    }
    if (!step.runs_backward) continue;
    for (int slot = 0; slot < static_cast<int>(step.src.size()); ++slot) {
      step.diff_src_t.push_back({diff_at({s, slot}), values[step.src[slot]].desc});
    }
    for (int v : step.dst) {
      const TensorDesc& desc = values[v].desc;
      GradientSum sum{desc.dtype, desc.n_bytes() / size_of(desc.dtype), {}};
      for (const PlanEdge& edge : gradient_edges(v)) sum.partials.push_back(diff_at(edge));
      step.diff_dst_t.push_back({sum.partials.empty() ? nullptr : sum.partials[0], desc});
      if (sum.partials.size() > 1) step.sums_of_gradients.push_back(std::move(sum));
    }
  }

  // Elements below the lowest offset of what is still to come are final. Parameters that no
  // gradient reaches are final, and zero, from the start; those of a frozen trunk nobody reads.
  int64_t lowest = arena.n_elements();
  std::vector<bool> written(arena.segments().size());
  for (auto call = backward_calls.rbegin(); call != backward_calls.rend(); ++call) {
    PlanStep& step = steps[call->step];
    if (!call->backward) continue;
    step.final_below = lowest;
    if (step.vertex < 0) continue;
    for (const Segment* segment : arena.of_vertex(graph, step.vertex)) {
      lowest = std::min(lowest, segment->offset);
      written[segment - arena.segments().data()] = true;
    }
  }
  for (size_t i = 0; i < written.size(); ++i) {
    const Segment& segment = arena.segments()[i];
    if (!written[i] && !is_trunk[static_cast<size_t>(segment.vertex)])
      zero_gradients.emplace_back(segment.offset, segment.n_elements());
  }

  std::vector<int64_t> input_bytes;
  for (const std::vector<int>* ids : {&input_values, &target_values})
    for (int v : *ids) input_bytes.push_back(values[v].desc.n_bytes());
  staged.reserve(input_bytes.size());
  inputs = std::make_unique<PlanInputs>(options.config.device, input_bytes, options.micro_batch);
  losses_on_host = Memory::on_host(options.config.device,
                                   static_cast<int64_t>(losses.size() * kLossValues * sizeof(double)));

  int64_t most_zeros = 0;
  for (int v : zero_values) most_zeros = std::max(most_zeros, values[v].desc.n_elements());
  if (most_zeros > 0) {
    zeros = Memory(options.config.device, most_zeros * int64_t{sizeof(float)});
    if (zeros.data() != nullptr) fill(*stream, most_zeros, 0.0f, zeros.as<float>());  // null: SizesOnly
  }
  if (!states.empty()) {  // zero, where nobody sets them
    states_in = Memory(options.config.device, state_elements * int64_t{sizeof(float)});
    if (states_in.data() != nullptr) fill(*stream, state_elements, 0.0f, states_in.as<float>());
  }

  // The vectors no longer move: spans and external pointers may be taken.
  for (size_t s = 0; s < steps.size(); ++s) {
    PlanStep& step = steps[s];
    step.args = {step.src_t,      step.dst_t,         step.params_t,           step.diff_src_t,
                 step.diff_dst_t, step.diff_params_t, at(places.workspace[s]), scratchpad->data(),
                 inputs->batch()};
    const auto note_external = [&](const std::vector<int>& ids, std::vector<Tensor>& tensors) {
      for (size_t i = 0; i < ids.size(); ++i) {
        const int root = values[ids[i]].root;
        if (values[root].producer >= 0) continue;
        if (std::find(zero_values.begin(), zero_values.end(), root) != zero_values.end()) {
          tensors[i].data = zeros.data();
          continue;
        }
        const auto state =
            std::find_if(states.begin(), states.end(), [&](const PlanState& one) { return one.in == root; });
        if (state == states.end()) {
          external.push_back({root, &tensors[i]});
        } else {
          tensors[i].data = states_in.at(state->offset * int64_t{sizeof(float)});
        }
      }
    };
    note_external(step.src, step.src_t);
    note_external(step.dst, step.dst_t);
  }
}

}  // namespace lockstep
