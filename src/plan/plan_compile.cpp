// Compiling a graph: layers become steps in order, activations and residual sums are fused into
// their sole predecessor, reorders stand where layouts or types differ, and the losses close.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "kernels/mix.h"
#include "kernels/reshape.h"
#include "src/data/augment/augment.h"
#include "src/network/loss_place.h"
#include "src/plan/plan_impl.h"

namespace lockstep {

int Plan::Impl::add_value(TensorDesc desc, int producer) {
  const int id = static_cast<int>(values.size());
  values.push_back({std::move(desc), producer, {}, id, false, -1});
  return id;
}

int Plan::Impl::in_form(int value, const TensorDesc& wanted) {
  if (values[value].desc.same_form(wanted)) return value;
  return add_step("reorder", make_reorder(options.config, values[value].desc, wanted), {value}, -1, "");
}

int Plan::Impl::add_step(std::string name, std::shared_ptr<Op> op, std::vector<int> src, int vertex,
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
  bool wants_diff =
      vertex >= 0 && !is_trunk[static_cast<size_t>(vertex)] && !arena.of_vertex(graph, vertex).empty();
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

void Plan::Impl::synchronize(PlanStep& step) {
  step.synchronized = dynamic_cast<BatchNorm*>(step.op.get());
  assert(step.synchronized != nullptr);
  step.sums.resize(step.synchronized->n_sums());
  step.diff_sums.resize(step.synchronized->n_sums());
}

int Plan::Impl::with_gradient(int value) {
  const TensorDesc desc = values[value].desc;
  const int view =
      add_step("input gradient", make_reshape(options.config, desc, desc.shape), {value}, -1, "");
  values[view].wants_diff = true;
  steps.back().runs_backward = true;
  input_gradient_steps.push_back(static_cast<int>(steps.size()) - 1);
  return view;
}

int Plan::Impl::add_augmented(int vertex) {
  const AugmentDesc desc = options.augmentation->desc(options.micro_batch, options.config.compute);
  std::shared_ptr<Op> op = make_augment(options.config, desc);
  const TensorDesc& wanted = op->info().src[1];
  augment_records = Memory::on_host(options.config.device, wanted.n_bytes());
  const int stored = add_value(desc.src, -1), record_value = add_value(wanted, -1);
  input_values.push_back(stored);
  records_value = record_value;
  const int images = add_step("augment", std::move(op), {stored, record_value}, -1, "");
  const Shape shape = graph.vertex(vertex).shape.with_front(options.micro_batch);
  if (desc.dst.shape == shape) return images;
  return add_step("reshape", make_reshape(options.config, desc.dst, shape), {images}, -1, "");
}

int Plan::Impl::add_mixed(int value) {
  const TensorDesc dense{values[value].desc.shape, DType::kFloat32, nullptr};
  return add_step("mix", make_mix(options.config, options.mix, dense), {in_form(value, dense)}, -1, "");
}

/// Steps [first, last) once more, to run in the backward phase: they read each other's values and
/// carry the gradients, so that the values of the forward phase need not be kept.
void Plan::Impl::repeat_steps(int first, int last) {
  std::map<int, int> again;  // value -> its repetition
  for (int s = first; s < last; ++s) {
    std::vector<int> src;
    for (int value : steps[s].src) src.push_back(again.count(value) ? again[value] : value);
    add_step(steps[s].name, steps[s].op, std::move(src), steps[s].vertex, "again, for backward");
    PlanStep& copy = steps.back();
    copy.repeats = s;
    copy.runs_backward = steps[s].runs_backward;
    copy.is_as_evaluated = steps[s].is_as_evaluated;
    if (steps[s].synchronized != nullptr) synchronize(copy);
    for (size_t i = 0; i < copy.dst.size(); ++i) {
      values[copy.dst[i]].repeats = steps[s].dst[i];
      again[steps[s].dst[i]] = copy.dst[i];
    }
    steps[s].runs_backward = false;
  }
}

/// One pass over the vertices; keeps what concerns fusion and blocks.
class Plan::Impl::Compiler {
 public:
  Compiler(Plan::Impl& plan, const std::vector<LossSpec>& losses)
      : p_(plan), readers_(plan.graph.size()), observed_(plan.graph.size()), deferred_(plan.graph.size()) {
    for (int v = 0; v < p_.graph.size(); ++v) {
      for (int i : p_.graph.vertex(v).inputs) readers_[i].push_back(v);
    }
    observed_[p_.graph.output()] = true;
    for (int state : p_.graph.states()) observed_[p_.graph.vertex(state).state_of] = true;
    for (const LossSpec& loss : losses) observed_[loss_vertex(p_.graph, loss)] = true;
    if (p_.options.keeps_shown)
      for (int shown : p_.graph.shown()) observed_[shown] = true;
  }

  void run() {
    const Graph& graph = p_.graph;
    const int64_t n = p_.options.micro_batch;
    p_.value_of.assign(graph.size(), -1);
    int block = -1, first = 0;
    for (int v = 0; v < graph.size(); ++v) {
      const Vertex& vertex = graph.vertex(v);
      if (vertex.output > 0) {
        if (!is_read(v)) continue;
        const int step = p_.values[p_.value_of[vertex.inputs[0]]].producer;
        p_.value_of[v] = p_.steps[step].dst[static_cast<size_t>(vertex.output)];
        continue;
      }
      if (!vertex.layer) {
        const Augmentation* augmentation = p_.options.augmentation.get();
        if (augmentation && augmentation->source().vertex == v) {
          p_.value_of[v] = p_.add_augmented(v);
          if (mixes(v)) p_.value_of[v] = p_.add_mixed(p_.value_of[v]);
          continue;
        }
        p_.value_of[v] = p_.add_value({vertex.shape.with_front(n), vertex.dtype, nullptr}, -1);
        if (vertex.is_zero) {
          p_.zero_values.push_back(p_.value_of[v]);
        } else if (vertex.state_of < 0) {
          p_.input_values.push_back(p_.value_of[v]);
          if (p_.options.input_gradients && vertex.dtype == DType::kFloat32)
            p_.value_of[v] = p_.with_gradient(p_.value_of[v]);
          if (mixes(v)) p_.value_of[v] = p_.add_mixed(p_.value_of[v]);
        } else {
          p_.states.push_back({p_.value_of[v], -1, p_.state_elements});
          p_.state_elements += p_.values[p_.value_of[v]].desc.n_elements();
        }
        continue;
      }
      if (vertex.recompute != block) first = close_unit(first, block), block = vertex.recompute;
      if (p_.value_of[v] >= 0) continue;  // fused into its predecessor
      if (may_add_residual(v)) {
        deferred_[v] = true;  // becomes a step when the sum is reached, whose other value is there then
      } else if (!try_residual_sum(v)) {
        lower(v, -1, -1);
      }
    }
    close_unit(first, block);
  }

 private:
  /// Ends the unit of steps [first, now): a block that is computed again is repeated. Returns where
  /// the next unit begins.
  int close_unit(int first, int block) {
    const int last = static_cast<int>(p_.steps.size());
    PlanUnit unit{first, last, -1};
    if (block >= 0 && p_.options.config.training) {
      unit.again = last;
      p_.repeat_steps(first, last);
    }
    if (last > first) p_.units.push_back(unit);
    return static_cast<int>(p_.steps.size());
  }

  /// The sole reader of a vertex within its block, where nobody else looks at its value; or -1.
  int sole_reader(int v) const {
    if (!p_.options.fuse || observed_[v] || readers_[v].size() != 1) return -1;
    const int reader = readers_[v][0];
    return p_.graph.vertex(reader).recompute == p_.graph.vertex(v).recompute ? reader : -1;
  }

  bool mixes(int v) const {
    return p_.options.mix.is_on() && p_.options.config.training && v == p_.graph.inputs()[0];
  }

  /// Whether anybody looks at a further output.
  bool is_read(int v) const { return !readers_[v].empty() || observed_[v]; }

  bool may_add_residual(int v) const {
    const int sum = sole_reader(v);
    if (sum < 0 || !p_.graph.vertex(v).layer->fuses_residual()) return false;
    const Vertex& reader = p_.graph.vertex(sum);
    return reader.layer->is_residual_sum() && reader.inputs.size() == 2 &&
           p_.graph.vertex(reader.inputs[0]).shape == p_.graph.vertex(reader.inputs[1]).shape;
  }

  /// A sum of two values one of which waits to add the other.
  bool try_residual_sum(int v) {
    const std::vector<int>& inputs = p_.graph.vertex(v).inputs;
    if (inputs.size() != 2) return false;
    for (int i : {0, 1}) {
      if (!deferred_[inputs[i]] || p_.value_of[inputs[i]] >= 0) continue;
      const int other = inputs[1 - i];
      if (deferred_[other] && p_.value_of[other] < 0) lower(other, -1, -1);
      lower(inputs[i], v, other);
      return true;
    }
    return false;
  }

  /// Makes vertex v a step. sum >= 0: with the residual sum of v and `other` closing it.
  void lower(int v, int sum, int other) {
    const Vertex& vertex = p_.graph.vertex(v);
    LowerContext context;
    context.config = p_.options.config;
    context.name = vertex.name;
    context.wants_diff_src = false;
    context.adds_residual = sum >= 0;
    context.cache_steps = p_.options.cache_steps;
    context.as_evaluated = p_.options.input_gradients;
    for (int reader : readers_[v]) {
      const int output = p_.graph.vertex(reader).output;
      if (output <= 0 || !is_read(reader)) continue;
      context.reads_further.resize(std::max(context.reads_further.size(), static_cast<size_t>(output)));
      context.reads_further[static_cast<size_t>(output) - 1] = true;
    }
    std::vector<int> src;
    const auto add_source = [&](int i) {
      src.push_back(p_.value_of[i]);
      context.src.push_back(p_.values[p_.value_of[i]].desc);
      context.wants_diff_src = context.wants_diff_src || p_.values[p_.value_of[i]].wants_diff;
    };
    for (int i : vertex.inputs) add_source(i);
    std::string note;
    if (p_.is_trunk[static_cast<size_t>(v)]) {
      context.config.training = false;
      note = "frozen ";
    }
    if (sum >= 0) {
      add_source(other);
      note += "+ '" + p_.graph.vertex(other).name + "' ";
      ++p_.n_fused;
    }
    const int closing = sum >= 0 ? sum : v;
    int activation_vertex = sole_reader(closing);
    if (activation_vertex >= 0) {
      const Vertex& next = p_.graph.vertex(activation_vertex);
      const std::optional<Activation> activation = next.layer->activation();
      if (activation && vertex.layer->fuses(*activation)) {
        context.fused = *activation;
        note += "+ " + std::string(name_of(*activation)) + " '" + next.name + "'";
        ++p_.n_fused;
      } else {
        activation_vertex = -1;
      }
    }

    std::shared_ptr<Op> op;
    try {
      op = vertex.layer->lower(context);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& e) {
      throw Error(fmt::format("layer '{}' ({})", vertex.name, vertex.layer->type()), e.reason(), e.remedy());
    }
    for (size_t i = 0; i < src.size(); ++i) src[i] = p_.in_form(src[i], op->info().src[i]);
    const bool synchronizes =
        p_.options.synchronize && context.config.training && vertex.layer->synchronizes();
    if (synchronizes) note = "over the whole batch " + note;
    const int value = p_.add_step(vertex.name + " (" + vertex.layer->type() + ")", op, src, v, note);
    if (synchronizes) p_.synchronize(p_.steps.back());
    if (context.as_evaluated && dynamic_cast<BatchNorm*>(p_.steps.back().op.get()) != nullptr) {
      p_.synchronize(p_.steps.back());
      p_.steps.back().is_as_evaluated = true;
    }
    p_.value_of[v] = value;
    if (sum >= 0) p_.value_of[sum] = value;
    if (activation_vertex >= 0) p_.value_of[activation_vertex] = value;
  }

  Plan::Impl& p_;
  std::vector<std::vector<int>> readers_;
  std::vector<bool> observed_, deferred_;
};

void Plan::Impl::close_states() {
  const int first = static_cast<int>(steps.size());
  const std::vector<int> vertices = graph.states();
  for (size_t i = 0; i < states.size(); ++i) {
    const int value = value_of[graph.vertex(vertices[i]).state_of];
    states[i].out = in_form(value, {values[value].desc.shape, DType::kFloat32, nullptr});
  }
  const int last = static_cast<int>(steps.size());
  if (last > first) units.push_back({first, last, -1});
}

void Plan::Impl::compile(const std::vector<LossSpec>& specs) {
  Compiler(*this, specs).run();
  close_states();
  if (records_value >= 0) input_values.push_back(records_value);

  OpConfig wide = options.config;  // losses compute in float32
  wide.compute = DType::kFloat32;
  std::map<int, int> dense;  // vertex -> its value, dense float32
  const auto dense_output = [&](int vertex) {
    const TensorDesc wanted{values[value_of[vertex]].desc.shape, DType::kFloat32, nullptr};
    if (dense.count(vertex) == 0) dense[vertex] = in_form(value_of[vertex], wanted);
    return dense[vertex];
  };
  const int first = static_cast<int>(steps.size());
  output_value = dense_output(graph.output());
  if (options.keeps_shown) {
    for (int v : graph.shown()) shown_values.push_back(dense_output(v));
    shown_on_host.resize(shown_values.size());
  }
  int last = static_cast<int>(steps.size());
  if (last > first) units.push_back({first, last, -1});

  for (const LossSpec& spec : specs) {
    const int begin = static_cast<int>(steps.size());
    const int prediction = dense_output(loss_vertex(graph, spec));
    const TensorDesc desc = values[prediction].desc;
    const Shape target_shape = spec.target_shape(desc.shape.without_front()).with_front(options.micro_batch);
    int target = loss_target_input(graph, spec);
    if (target >= 0) {
      target = value_of[target];
      if (values[target].desc.shape != target_shape)
        target = add_step("reshape", make_reshape(wide, values[target].desc, target_shape), {target}, -1, "");
    } else {
      target = add_value({target_shape, spec.target_dtype(), nullptr}, -1);
      target_values.push_back(target);
    }
    PlanLoss loss;
    std::unique_ptr<Op> op = make_loss(wide, spec, desc);
    if (options.mix.is_on() && options.config.training) {
      const Shape& sample = graph.vertex(graph.inputs()[0]).shape;
      const bool is_image = sample.rank() == 3;
      op = make_mixed_loss(options.mix, std::move(op), is_image ? sample[1] : 1, is_image ? sample[2] : 1);
    }
    loss.step = static_cast<int>(steps.size());
    loss.value = add_step("loss", std::move(op), {prediction, target}, -1, "");
    losses.push_back(loss);
    units.push_back({begin, static_cast<int>(steps.size()), -1});
  }
}

}  // namespace lockstep
