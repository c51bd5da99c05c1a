// Compiling a graph: layers become steps in order, activations are fused into their sole
// predecessor, reorders stand where layouts differ, and the loss closes.
#include <fmt/format.h>

#include "kernels/reshape.h"
#include "src/plan_impl.h"

namespace lockstep {

int Plan::Impl::add_value(TensorDesc desc, int producer) {
  const int id = static_cast<int>(values.size());
  values.push_back({std::move(desc), producer, {}, id, false});
  return id;
}

int Plan::Impl::in_layout(int value, const TensorDesc& wanted, std::map<int, std::vector<int>>& reordered) {
  if (values[value].desc.same_layout(wanted)) return value;
  for (int copy : reordered[value]) {
    if (values[copy].desc.same_layout(wanted)) return copy;
  }
  const int copy =
      add_step("reorder", make_reorder(options.config, values[value].desc, wanted), {value}, -1, "");
  reordered[value].push_back(copy);
  return copy;
}

int Plan::Impl::add_step(std::string name, std::unique_ptr<Op> op, std::vector<int> src, int vertex,
                         std::string note) {
  const int index = static_cast<int>(steps.size());
  PlanStep step;
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
    if (value_of[v] >= 0) continue;  // fused into its predecessor

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

}  // namespace lockstep
