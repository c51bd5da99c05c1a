// Placing and binding: every value, gradient and workspace gets its place in one block by its
// lifetime, and every step its tensors, once and for all.
#include <algorithm>

#include "src/memory_plan.h"
#include "src/plan_impl.h"

namespace lockstep {

void Plan::Impl::place_memory(std::vector<int64_t>& value_offset, std::map<PlanEdge, int64_t>& diff_offset,
                              std::vector<int64_t>& workspace_offset) {
  // Times: step i runs forward at i and backward at 2S - 1 - i.
  const int n_steps = static_cast<int>(steps.size());
  const auto backward_time = [&](int step) { return 2 * n_steps - 1 - step; };

  std::vector<BufferRequest> requests;
  const auto request = [&](int64_t n_bytes, int first, int last) {
    requests.push_back({n_bytes, first, last});
    return static_cast<int>(requests.size()) - 1;
  };

  // Values. An alias lengthens the life of its root.
  std::vector<int> value_request(values.size(), -1);
  for (int v = 0; v < static_cast<int>(values.size()); ++v) {
    const PlanValue& value = values[v];
    if (values[value.root].producer < 0) continue;  // outside memory
    int first = value.producer, last = value.producer;
    const PlanStep& producer = steps[value.producer];
    if (producer.runs_backward && producer.op->info().backward_needs_dst)
      last = backward_time(value.producer);
    for (const PlanEdge& reader : value.readers) {
      const PlanStep& step = steps[reader.step];
      last = std::max(last, reader.step);
      if (step.runs_backward && step.op->info().backward_needs_src)
        last = std::max(last, backward_time(reader.step));
    }
    if (v == output_value || v == loss_value) last = 2 * n_steps;
    if (value.root == v) {
      value_request[v] = request(value.desc.n_bytes(), first, last);
    } else {
      BufferRequest& root = requests[value_request[value.root]];
      root.last = std::max(root.last, last);
    }
  }

  // Gradients, one per edge, alive from the reader's to the producer's backward. Where the
  // reader is a view, the gradient of its input is the memory of that of its output.
  std::map<PlanEdge, int> diff_request;
  for (int s = n_steps - 1; s >= 0; --s) {
    if (!steps[s].runs_backward) continue;
    for (int slot = 0; slot < static_cast<int>(steps[s].src.size()); ++slot) {
      const PlanValue& value = values[steps[s].src[slot]];
      if (!value.wants_diff || value.producer < 0) continue;
      const int last = backward_time(value.producer);
      if (steps[s].op->info().aliases_src) {
        const int shared = diff_request.at(values[steps[s].dst[0]].readers[0]);
        requests[shared].last = std::max(requests[shared].last, last);
        diff_request[{s, slot}] = shared;
      } else {
        diff_request[{s, slot}] = request(value.desc.n_bytes(), backward_time(s), last);
      }
    }
  }

  std::vector<int> workspace_request(n_steps, -1);
  for (int s = 0; s < n_steps; ++s) {
    const int64_t n_bytes = steps[s].op->info().workspace_bytes;
    if (n_bytes > 0)
      workspace_request[s] = request(n_bytes, s, steps[s].runs_backward ? backward_time(s) : s);
  }

  const MemoryPlan plan = plan_memory(requests, options.reuse_memory);
  block = Memory(options.config.device, std::max<int64_t>(plan.n_bytes, 64));
  value_offset.assign(values.size(), -1);
  for (size_t v = 0; v < values.size(); ++v) {
    if (value_request[values[v].root] >= 0) value_offset[v] = plan.offsets[value_request[values[v].root]];
  }
  for (const auto& [edge, id] : diff_request) diff_offset[edge] = plan.offsets[id];
  workspace_offset.assign(n_steps, -1);
  for (int s = 0; s < n_steps; ++s) {
    if (workspace_request[s] >= 0) workspace_offset[s] = plan.offsets[workspace_request[s]];
  }
}

void Plan::Impl::bind() {
  std::vector<int64_t> value_offset, workspace_offset;
  std::map<PlanEdge, int64_t> diff_offset;
  place_memory(value_offset, diff_offset, workspace_offset);

  int64_t scratchpad_bytes = 64;
  for (const PlanStep& step : steps)
    scratchpad_bytes = std::max(scratchpad_bytes, step.op->info().scratchpad_bytes);
  scratchpad = Memory(options.config.device, scratchpad_bytes);

  const auto tensor = [&](int v) {
    return Tensor{value_offset[v] >= 0 ? block.data() + value_offset[v] : nullptr, values[v].desc};
  };
  int64_t final_below = 0;
  for (int s = static_cast<int>(steps.size()) - 1; s >= 0; --s) {
    PlanStep& step = steps[s];
    for (int v : step.src) step.src_t.push_back(tensor(v));
    for (int v : step.dst) step.dst_t.push_back(tensor(v));
    if (step.vertex >= 0) {
      for (const Segment* segment : arena.of_vertex(step.vertex)) {
        const TensorDesc desc{segment->shape, DType::kFloat32, nullptr};
        step.params_t.push_back({arena.weights() + segment->offset, desc});
        step.diff_params_t.push_back({nullptr, desc});
        step.param_offsets.push_back(segment->offset);
      }
    }
    if (step.runs_backward) {
      for (int slot = 0; slot < static_cast<int>(step.src.size()); ++slot) {
        const auto place = diff_offset.find({s, slot});
        std::byte* data = place == diff_offset.end() ? nullptr : block.data() + place->second;
        step.diff_src_t.push_back({data, values[step.src[slot]].desc});
      }
      for (int v : step.dst) {
        Tensor diff{nullptr, values[v].desc};
        for (const PlanEdge& reader : values[v].readers) {
          const auto place = diff_offset.find(reader);
          if (place == diff_offset.end()) continue;
          std::byte* data = block.data() + place->second;
          if (diff.data == nullptr) {
            diff.data = data;
          } else {
            step.diff_partials.push_back(reinterpret_cast<const float*>(data));
          }
        }
        step.diff_dst_t.push_back(diff);
      }
    }
    // Elements below the lowest offset of what is still to come are final.
    int64_t next = arena.n_elements();
    for (const Segment& segment : arena.segments()) {
      for (int earlier = 0; earlier < s; ++earlier) {
        if (steps[earlier].vertex == segment.vertex) next = std::min(next, segment.offset);
      }
    }
    final_below = std::max(final_below, next);
    step.final_below = final_below;
  }
  // The vectors no longer move: spans and external pointers may be taken.
  for (size_t s = 0; s < steps.size(); ++s) {
    PlanStep& step = steps[s];
    step.args = {step.src_t,
                 step.dst_t,
                 step.params_t,
                 step.diff_src_t,
                 step.diff_dst_t,
                 step.diff_params_t,
                 workspace_offset[s] >= 0 ? block.data() + workspace_offset[s] : nullptr,
                 scratchpad.data(),
                 &batch};
    for (size_t i = 0; i < step.src.size(); ++i) {
      const int root = values[step.src[i]].root;
      if (values[root].producer < 0) external.push_back({root, &step.src_t[i]});
    }
    for (size_t i = 0; i < step.dst.size(); ++i) {
      const int root = values[step.dst[i]].root;
      if (values[root].producer < 0) external.push_back({root, &step.dst_t[i]});
    }
  }
}

}  // namespace lockstep
