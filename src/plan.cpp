#include "src/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <map>

#include "kernels/elementwise.h"
#include "kernels/reshape.h"
#include "src/memory_plan.h"

namespace lockstep {

namespace {

/// Source `slot` of a step: where a value is read. A step may read one value twice.
struct Edge {
  int step = 0, slot = 0;
  auto operator<=>(const Edge&) const = default;
};

/// One activation: an input of the graph or what a step wrote. Aliases name their root.
struct Value {
  TensorDesc desc;
  int producer = -1;              // step; -1: an input or the target, bound from outside
  std::vector<Edge> readers;      // ascending
  int root = -1;                  // the value whose memory this one uses (itself if none)
  bool wants_diff = false;
};

struct Step {
  std::string name;
  std::unique_ptr<Op> op;
  std::vector<int> src, dst;      // values
  int vertex = -1;                // whose parameters it reads; -1: none
  std::string note;               // fusion, for the print
  // Bound by bind():
  std::vector<Tensor> src_t, dst_t, params_t, diff_src_t, diff_dst_t, diff_params_t;
  std::vector<int64_t> param_offsets;
  std::vector<const float*> diff_partials;   // further readers' gradients of dst[0], summed before backward
  OpArgs args;
  int64_t final_below = 0;        // arena elements [0, n) are final after its backward
  bool runs_backward = false;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Plan::Impl {
  const Graph& graph;
  const ParameterArena& arena;
  PlanOptions options;
  std::unique_ptr<Stream> stream;
  std::vector<Value> values;
  std::vector<Step> steps;
  std::vector<int> input_values;          // per graph input
  int target_value = -1, loss_value = -1, output_value = -1;
  int loss_step = -1;
  int64_t n_inputs = 0;
  Memory block, scratchpad;
  BatchContext batch;
  /// Every bound tensor that views an input, to be pointed at the next micro-batch.
  std::vector<std::pair<int, Tensor*>> external;

  Impl(const Graph& g, const ParameterArena& a, const PlanOptions& o)
      : graph(g), arena(a), options(o), stream(make_stream(o.config.device)) {}

  int add_value(TensorDesc desc, int producer) {
    const int id = static_cast<int>(values.size());
    values.push_back({std::move(desc), producer, {}, id, false});
    return id;
  }

  /// The value in the layout that the reader wants: itself, or behind a reorder step.
  int in_layout(int value, const TensorDesc& wanted, std::map<int, std::vector<int>>& reordered) {
    if (values[value].desc.same_layout(wanted)) return value;
    for (int copy : reordered[value]) {
      if (values[copy].desc.same_layout(wanted)) return copy;
    }
    const int copy = add_step("reorder", make_reorder(options.config, values[value].desc, wanted), {value}, -1, "");
    reordered[value].push_back(copy);
    return copy;
  }

  /// Appends a step and returns its first output value.
  int add_step(std::string name, std::unique_ptr<Op> op, std::vector<int> src, int vertex, std::string note) {
    const int index = static_cast<int>(steps.size());
    Step step;
    step.name = std::move(name);
    step.vertex = vertex;
    step.note = std::move(note);
    step.src = std::move(src);
    for (int slot = 0; slot < static_cast<int>(step.src.size()); ++slot) {
      values[step.src[slot]].readers.push_back({index, slot});
    }
    bool wants_diff = vertex >= 0 && !arena.of_vertex(vertex).empty();
    for (int value : step.src) wants_diff = wants_diff || values[value].wants_diff;
    for (const TensorDesc& desc : op->info().dst) {
      const int value = add_value(desc, index);
      values[value].wants_diff = wants_diff;
      if (op->info().aliases_src) values[value].root = values[step.src[0]].root;
      step.dst.push_back(value);
    }
    step.runs_backward = wants_diff && options.config.training;
    step.op = std::move(op);
    steps.push_back(std::move(step));
    return steps.back().dst[0];
  }

  void compile(const LossSpec& loss);
  void bind();
  void place_memory(std::vector<int64_t>& value_offset, std::map<Edge, int64_t>& diff_offset,
                    std::vector<int64_t>& workspace_offset);
};

void Plan::Impl::compile(const LossSpec& loss) {
  const int64_t n = options.micro_batch;
  std::vector<int> value_of(graph.size(), -1);
  std::map<int, std::vector<int>> reordered;

  // How often each vertex is read: only a sole reader may be fused.
  std::vector<std::vector<int>> readers(graph.size());
  for (int v = 0; v < graph.size(); ++v) {
    for (int i : graph.vertex(v).inputs) readers[i].push_back(v);
  }

  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer) {
      value_of[v] = add_value({vertex.shape.with_front(n), DType::kFloat32, nullptr}, -1);
      input_values.push_back(value_of[v]);
      continue;
    }
    if (value_of[v] >= 0) continue;   // fused into its predecessor

    LowerContext context;
    context.config = options.config;
    context.wants_diff_src = false;
    std::vector<int> src;
    for (int i : vertex.inputs) {
      src.push_back(value_of[i]);
      context.src.push_back(values[value_of[i]].desc);
      context.wants_diff_src = context.wants_diff_src || values[value_of[i]].wants_diff;
    }
    int fused_vertex = -1;
    std::string note;
    if (options.fuse && readers[v].size() == 1) {
      const Vertex& next = graph.vertex(readers[v][0]);
      const std::optional<Activation> activation = next.layer->activation();
      if (activation && next.inputs.size() == 1 && vertex.layer->fuses(*activation)) {
        context.fused = *activation;
        fused_vertex = readers[v][0];
        note = "+ " + std::string(name_of(*activation)) + " '" + next.name + "'";
      }
    }

    std::unique_ptr<Op> op;
    try {
      op = vertex.layer->lower(context);
    } catch (const Error& e) {
      throw Error(fmt::format("layer '{}' ({})", vertex.name, vertex.layer->type()), e.what());
    }
    for (size_t i = 0; i < src.size(); ++i) src[i] = in_layout(src[i], op->info().src[i], reordered);
    value_of[v] = add_step(vertex.name + " (" + vertex.layer->type() + ")", std::move(op), src, v, note);
    if (fused_vertex >= 0) value_of[fused_vertex] = value_of[v];
  }

  // The prediction, dense, then the loss.
  int prediction = value_of[graph.output()];
  prediction = in_layout(prediction, values[prediction].desc.dense(), reordered);
  output_value = prediction;
  const Shape sample = values[prediction].desc.shape.without_front();
  target_value = add_value({loss.target_shape(sample).with_front(n), loss.target_dtype(), nullptr}, -1);
  std::unique_ptr<Op> op = make_loss(options.config, loss, values[prediction].desc);
  loss_step = static_cast<int>(steps.size());
  loss_value = add_step("loss", std::move(op), {prediction, target_value}, -1, "");
  // Backward begins at the loss: nothing has a gradient behind it.
  steps[loss_step].runs_backward = options.config.training && values[prediction].wants_diff;
}

void Plan::Impl::place_memory(std::vector<int64_t>& value_offset,
                              std::map<Edge, int64_t>& diff_offset,
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
    const Value& value = values[v];
    if (values[value.root].producer < 0) continue;   // outside memory
    int first = value.producer, last = value.producer;
    const Step& producer = steps[value.producer];
    if (producer.runs_backward && producer.op->info().backward_needs_dst) last = backward_time(value.producer);
    for (const Edge& reader : value.readers) {
      const Step& step = steps[reader.step];
      last = std::max(last, reader.step);
      if (step.runs_backward && step.op->info().backward_needs_src) last = std::max(last, backward_time(reader.step));
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
  std::map<Edge, int> diff_request;
  for (int s = n_steps - 1; s >= 0; --s) {
    if (!steps[s].runs_backward) continue;
    for (int slot = 0; slot < static_cast<int>(steps[s].src.size()); ++slot) {
      const Value& value = values[steps[s].src[slot]];
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
    if (n_bytes > 0) workspace_request[s] = request(n_bytes, s, steps[s].runs_backward ? backward_time(s) : s);
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
  std::map<Edge, int64_t> diff_offset;
  place_memory(value_offset, diff_offset, workspace_offset);

  int64_t scratchpad_bytes = 64;
  for (const Step& step : steps) scratchpad_bytes = std::max(scratchpad_bytes, step.op->info().scratchpad_bytes);
  scratchpad = Memory(options.config.device, scratchpad_bytes);

  const auto tensor = [&](int v) {
    return Tensor{value_offset[v] >= 0 ? block.data() + value_offset[v] : nullptr, values[v].desc};
  };
  int64_t final_below = 0;
  for (int s = static_cast<int>(steps.size()) - 1; s >= 0; --s) {
    Step& step = steps[s];
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
        for (const Edge& reader : values[v].readers) {
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
    Step& step = steps[s];
    step.args = {step.src_t, step.dst_t, step.params_t, step.diff_src_t, step.diff_dst_t, step.diff_params_t,
                 workspace_offset[s] >= 0 ? block.data() + workspace_offset[s] : nullptr, scratchpad.data(), &batch};
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

Plan::Plan(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const PlanOptions& options)
    : impl_(std::make_unique<Impl>(graph, arena, options)) {
  impl_->compile(loss);
  impl_->bind();
}

Plan::~Plan() = default;

void Plan::refresh_weights() {
  for (Step& step : impl_->steps) {
    if (!step.params_t.empty()) step.op->prepare(*impl_->stream, step.params_t);
  }
}

void Plan::forward(const std::vector<const void*>& inputs, const void* target, const BatchContext& batch) {
  const double start = seconds();
  Impl& p = *impl_;
  assert(inputs.size() == p.input_values.size());
  p.batch = batch;
  for (auto& [value, tensor] : p.external) {
    const void* data = target;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (p.input_values[i] == value) data = inputs[i];
    }
    tensor->data = const_cast<void*>(data);
  }
  for (int s = 0; s < static_cast<int>(p.steps.size()); ++s) {
    if (s == p.loss_step && target == nullptr) break;
    Step& step = p.steps[s];
    if (!step.op->info().aliases_src) step.op->forward(*p.stream, step.args);
  }
  forward_s_ += seconds() - start;
}

void Plan::backward(float* gradients, const std::function<void(int64_t)>& final_below) {
  const double start = seconds();
  double outside = 0;
  Impl& p = *impl_;
  int64_t announced = 0;
  for (int s = static_cast<int>(p.steps.size()) - 1; s >= 0; --s) {
    Step& step = p.steps[s];
    if (step.runs_backward) {
      for (const float* partial : step.diff_partials) {
        float* diff = step.diff_dst_t[0].as<float>();
        add(*p.stream, step.diff_dst_t[0].desc.n_bytes() / 4, diff, partial, diff);
      }
      for (size_t i = 0; i < step.param_offsets.size(); ++i) step.diff_params_t[i].data = gradients + step.param_offsets[i];
      if (!step.op->info().aliases_src) step.op->backward(*p.stream, step.args);
    }
    if (final_below && step.final_below > announced) {
      announced = step.final_below;
      const double call = seconds();
      final_below(announced);
      outside += seconds() - call;
    }
  }
  backward_s_ += seconds() - start - outside;
}

const double* Plan::loss_values() const { return impl_->steps[impl_->loss_step].dst_t[0].as<double>(); }

const float* Plan::output() const { return impl_->steps[impl_->loss_step].src_t[0].as<float>(); }

const Shape& Plan::output_shape() const { return impl_->values[impl_->output_value].desc.shape; }

int64_t Plan::activation_bytes() const { return impl_->block.n_bytes(); }
int64_t Plan::scratchpad_bytes() const { return impl_->scratchpad.n_bytes(); }

std::string Plan::str() const {
  std::string text = fmt::format("{:3} {:28} {:24} {:12} {:>10}  {}\n", "", "step", "output", "layout", "workspace", "");
  for (size_t s = 0; s < impl_->steps.size(); ++s) {
    const Step& step = impl_->steps[s];
    const TensorDesc& dst = impl_->values[step.dst[0]].desc;
    text += fmt::format("{:3} {:28} {:24} {:12} {:>10}  {}{}\n", s, step.name, dst.shape.str(),
                        dst.layout ? dst.layout->name() : "dense", step.op->info().workspace_bytes, step.note,
                        step.op->info().aliases_src ? "view" : "");
  }
  text += fmt::format("activations {} bytes, scratchpad {} bytes{}\n", activation_bytes(), scratchpad_bytes(),
                      impl_->options.reuse_memory ? "" : " (no reuse)");
  return text;
}

}  // namespace lockstep
