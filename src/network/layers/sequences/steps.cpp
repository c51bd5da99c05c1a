// Sequences (T, …) and their steps: one of them or their mean, all of them apart and together again.
#include "kernels/steps.h"

#include <fmt/format.h>

#include "src/network/graph.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

/// (T, …) -> (…)
Shape one_step(const Shape& sequence) {
  if (sequence.rank() < 2)
    throw Error("", fmt::format("needs a sequence (T, features) per sample, got shape {}", sequence.str()),
                "put it behind a layer that gives sequences, such as lstm");
  return sequence.without_front();
}

/// (N, T, 1, …) numbers: 1 for steps of the sequence (T, …), 0 behind its lengths, which are input 1.
std::string valid_steps(OnnxVertex& vertex, const Shape& sequence) {
  const std::string valid = vertex.cast(vertex.below_lengths(1, sequence[0]), OnnxType::kFloat);
  std::vector<int64_t> extents(static_cast<size_t>(sequence.rank()), 1);
  extents[0] = sequence[0];
  return vertex.reshape(valid, Shape(std::span<const int64_t>(extents)));
}

class PickStepLayer : public Layer {
 public:
  explicit PickStepLayer(bool first) : first_(first) {}
  std::string type() const override { return first_ ? "first_step" : "last_step"; }
  Lengths lengths() const override { return {0, 1}; }
  Shape infer(std::span<const Shape> src) const override { return one_step(src[0]); }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    PickStepDesc desc;
    desc.src = context.src[0];
    desc.has_lengths = context.src.size() > 1;
    desc.first = first_;
    return make_pick_step(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    if (first_ || vertex.n_inputs() == 1) {
      const std::string step = vertex.whole(first_ ? 0 : vertex.shape()[0] - 1);
      return vertex.set_output(vertex.add("Gather", {vertex.input(), step}, {{"axis", int64_t{1}}}));
    }
    // Step length - 1 of each row; rows of length 0 give 0, as the steps behind the lengths are.
    const std::string wide = vertex.cast(vertex.input(1), OnnxType::kInt64);
    const std::string last = vertex.add("Sub", {wide, vertex.whole(1)});
    const std::string place = vertex.add("Max", {last, vertex.whole(0)});
    const std::string y =
        vertex.add("GatherND", {vertex.input(), vertex.unsqueeze(place, 1)}, {{"batch_dims", int64_t{1}}});
    vertex.set_output(vertex.add("Mul", {y, any_step(vertex, wide)}));
  }

 private:
  /// (N, 1, …) numbers: 1 where the length is above 0.
  static std::string any_step(OnnxVertex& vertex, const std::string& lengths) {
    const std::string any = vertex.add("Greater", {lengths, vertex.whole(0)});
    const std::string number = vertex.cast(any, OnnxType::kFloat);
    std::vector<int64_t> extents(static_cast<size_t>(vertex.shape().rank()), 1);
    extents[0] = -1;
    return vertex.add("Reshape", {number, vertex.wholes(extents)});
  }

  bool first_;
};

class MeanStepsLayer : public Layer {
 public:
  std::string type() const override { return "mean_steps"; }
  Lengths lengths() const override { return {0, 1}; }
  Shape infer(std::span<const Shape> src) const override { return one_step(src[0]); }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    MeanStepsDesc desc;
    desc.src = context.src[0];
    desc.has_lengths = context.src.size() > 1;
    return make_mean_steps(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    if (vertex.n_inputs() == 1)
      return vertex.set_output(vertex.add("ReduceMean", {vertex.input()},
                                          {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}}));
    const std::string valid = valid_steps(vertex, vertex.shape());
    const std::string kept = vertex.add("Mul", {vertex.input(), valid});
    const std::string sum = vertex.add("ReduceSum", {kept, vertex.wholes({1})}, {{"keepdims", int64_t{0}}});
    const std::string n = vertex.add("ReduceSum", {valid, vertex.wholes({1})}, {{"keepdims", int64_t{0}}});
    vertex.set_output(vertex.add("Div", {sum, vertex.add("Max", {n, vertex.constant(1)})}));
  }
};

class SplitStepsLayer : public Layer {
 public:
  explicit SplitStepsLayer(int64_t n_steps) : n_steps_(n_steps) {}
  std::string type() const override { return "split_steps"; }
  Shape infer(std::span<const Shape> src) const override { return one_step(src[0]); }
  std::vector<std::string> further_outputs() const override {
    std::vector<std::string> names;
    for (int64_t t = 1; t < n_steps_; ++t) names.push_back(std::to_string(t));
    return names;
  }
  Shape infer_further(int, std::span<const Shape> src) const override { return one_step(src[0]); }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_split_steps(context.config, context.src[0]);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    for (int64_t t = 0; t < n_steps_; ++t)
      if (t == 0 || vertex.wants_output(static_cast<size_t>(t - 1)))
        vertex.set_output(vertex.add("Gather", {vertex.input(), vertex.whole(t)}, {{"axis", int64_t{1}}}),
                          static_cast<size_t>(t));
  }

 private:
  int64_t n_steps_;
};

class JoinStepsLayer : public Layer {
 public:
  std::string type() const override { return "join_steps"; }
  int max_inputs() const override { return 1 << 20; }
  Shape infer(std::span<const Shape> src) const override {
    for (const Shape& step : src) {
      if (step != src[0])
        throw Error("", fmt::format("steps of shapes {} and {} make no sequence", src[0].str(), step.str()),
                    "give every step the same shape");
    }
    return src[0].with_front(static_cast<int64_t>(src.size()));
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_join_steps(context.config, context.src[0], static_cast<int64_t>(context.src.size()));
  }
  void to_onnx(OnnxVertex& vertex) const override {
    std::vector<std::string> steps;
    for (size_t i = 0; i < vertex.n_inputs(); ++i) steps.push_back(vertex.unsqueeze(vertex.input(i), 1));
    vertex.set_output(vertex.add("Concat", steps, {{"axis", int64_t{1}}}));
  }
};

class RepeatStepsLayer : public Layer {
 public:
  std::string type() const override { return "repeat_steps"; }
  int min_inputs() const override { return 2; }
  int max_inputs() const override { return 2; }
  Shape infer(std::span<const Shape> src) const override { return src[0].with_front(src[1][0]); }
  std::unique_ptr<Op> lower(const LowerContext&) const override { return nullptr; }  // it expands
  int expand(Graph& graph, const std::string& name, const std::vector<int>& inputs) const override {
    if (inputs.size() != 2) return -1;
    const Shape& like = graph.vertex(inputs[1]).shape;
    if (like.rank() < 1)
      throw Error("layer '" + name + "'", "its second input is no sequence",
                  "name the value and a sequence with as many steps: from: [value, sequence]");
    const int joined =
        graph.add(name, join_steps_layer(), std::vector<int>(static_cast<size_t>(like[0]), inputs[0]));
    graph.set_lengths(joined, graph.vertex(inputs[1]).lengths);
    return joined;
  }
};

class SelectRowsLayer : public Layer {
 public:
  explicit SelectRowsLayer(int64_t step) : step_(step) {}
  std::string type() const override { return "select_rows"; }
  int min_inputs() const override { return 3; }
  int max_inputs() const override { return 3; }
  Lengths lengths() const override { return {-1, 2}; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    SelectRowsDesc desc;
    desc.rows = context.src[0];
    desc.step = step_;
    return make_select_rows(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const std::string wide = vertex.cast(vertex.input(2), OnnxType::kInt64);
    const std::string is_valid = vertex.add("Greater", {wide, vertex.whole(step_)});
    std::vector<int64_t> extents(static_cast<size_t>(1 + vertex.shape().rank()), 1);
    extents[0] = -1;
    const std::string rows = vertex.add("Reshape", {is_valid, vertex.wholes(extents)});
    vertex.set_output(vertex.add("Where", {rows, vertex.input(0), vertex.input(1)}));
  }

 private:
  int64_t step_;
};

class ReverseStepsLayer : public Layer {
 public:
  std::string type() const override { return "reverse_steps"; }
  bool keeps_steps() const override { return true; }
  Lengths lengths() const override { return {0, 1}; }
  Shape infer(std::span<const Shape> src) const override {
    one_step(src[0]);
    return src[0];
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    ReverseStepsDesc desc;
    desc.src = context.src[0];
    desc.has_lengths = context.src.size() > 1;
    return make_reverse_steps(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const int64_t n_steps = vertex.shape()[0];
    if (vertex.n_inputs() == 1) {
      std::vector<int64_t> backward;
      for (int64_t t = n_steps - 1; t >= 0; --t) backward.push_back(t);
      return vertex.set_output(
          vertex.add("Gather", {vertex.input(), vertex.wholes(backward)}, {{"axis", int64_t{1}}}));
    }
    const std::string wide = vertex.cast(vertex.input(1), OnnxType::kInt64);
    const std::string turned = vertex.add("ReverseSequence", {vertex.input(), wide},
                                          {{"batch_axis", int64_t{0}}, {"time_axis", int64_t{1}}});
    vertex.set_output(vertex.add("Mul", {turned, valid_steps(vertex, vertex.shape())}));
  }
};

const bool repeat_steps_layer_registered =
    register_layer("repeat_steps", [](Config&) { return repeat_steps_layer(); });
const bool reverse_steps_layer_registered =
    register_layer("reverse_steps", [](Config&) { return reverse_steps_layer(); });
const bool last_step_layer_registered =
    register_layer("last_step", [](Config&) { return pick_step_layer(false); });
const bool first_step_layer_registered =
    register_layer("first_step", [](Config&) { return pick_step_layer(true); });
const bool mean_steps_layer_registered =
    register_layer("mean_steps", [](Config&) { return mean_steps_layer(); });

}  // namespace

std::shared_ptr<const Layer> pick_step_layer(bool first) { return std::make_shared<PickStepLayer>(first); }
std::shared_ptr<const Layer> mean_steps_layer() { return std::make_shared<MeanStepsLayer>(); }
std::shared_ptr<const Layer> split_steps_layer(int64_t n_steps) {
  return std::make_shared<SplitStepsLayer>(n_steps);
}
std::shared_ptr<const Layer> join_steps_layer() { return std::make_shared<JoinStepsLayer>(); }
std::shared_ptr<const Layer> repeat_steps_layer() { return std::make_shared<RepeatStepsLayer>(); }
std::shared_ptr<const Layer> select_rows_layer(int64_t step) {
  return std::make_shared<SelectRowsLayer>(step);
}
std::shared_ptr<const Layer> reverse_steps_layer() { return std::make_shared<ReverseStepsLayer>(); }

}  // namespace lockstep
