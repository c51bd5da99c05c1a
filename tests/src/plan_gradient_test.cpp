// Gradients of whole networks against central differences of the loss, for every parameter,
// and graphs that are no chain: values with several readers, built with layers of this file.
#include <cmath>

#include "src/network/layers/layers.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

/// dst = a / 2 - b / 4. Backward needs neither input nor output.
class CombineOp : public Op {
 public:
  explicit CombineOp(const TensorDesc& src) {
    info_.src = {src.dense(), src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_src = info_.backward_needs_dst = false;
  }
  void forward(Stream&, const OpArgs& args) override {
    const float *a = args.src[0].as<float>(), *b = args.src[1].as<float>();
    for (int64_t i = 0; i < info_.dst[0].n_elements(); ++i)
      args.dst[0].as<float>()[i] = 0.5f * a[i] - 0.25f * b[i];
  }
  void backward(Stream&, const OpArgs& args) override {
    const float factor[] = {0.5f, -0.25f};
    for (int slot = 0; slot < 2; ++slot) {
      if (args.diff_src[slot].empty()) continue;
      float* diff_src = args.diff_src[slot].as<float>();
      for (int64_t i = 0; i < info_.dst[0].n_elements(); ++i)
        diff_src[i] = factor[slot] * args.diff_dst[0].as<float>()[i];
    }
  }
};

class CombineLayer : public Layer {
 public:
  std::string type() const override { return "combine"; }
  int min_inputs() const override { return 2; }
  int max_inputs() const override { return 2; }
  Shape infer(std::span<const Shape> src) const override {
    EXPECT_EQ(src.size(), 2u);
    EXPECT_EQ(src[0], src[1]);
    return src[0];
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return std::make_unique<CombineOp>(context.src[0]);
  }
};

std::shared_ptr<const Layer> combine() { return std::make_shared<CombineLayer>(); }

/// x -> fc1 -> tanh -> {fc2 -> tanh, itself} -> combine -> fc3
Graph residual() {
  Graph graph;
  graph.add_input("input", {6});
  graph.append(affine_layer(7), "fc1");
  const int trunk = graph.append(activation_layer(Activation::kTanh), "tanh1");
  graph.append(affine_layer(7), "fc2");
  const int branch = graph.append(activation_layer(Activation::kTanh), "tanh2");
  graph.add("join", combine(), {branch, trunk});
  graph.append(affine_layer(4), "fc3");
  return graph;
}

/// Three readers of one convolution, two of a flattened value, and one layer that reads a value twice.
Graph web() {
  Graph graph;
  graph.add_input("input", {2, 6, 6});
  const int conv = graph.append(conv2d_layer({.channels = 5, .kernel = {3, 3}}), "conv");
  graph.append(activation_layer(Activation::kTanh), "tanh");
  const int left = graph.append(conv2d_layer({.channels = 5, .padding = {1, 1, 1, 1}}), "left");
  const int right =
      graph.add("right", conv2d_layer({.channels = 5, .padding = {1, 1, 1, 1}, .bias = false}), {conv});
  const int both = graph.add("both", combine(), {left, right});
  const int more = graph.add("more", combine(), {conv, both});
  const int flat = graph.add("flat", flatten_layer(), {more});
  const int a = graph.add("a", affine_layer(6), {flat});
  const int b = graph.add("b", affine_layer(6, false), {flat});
  const int sum = graph.add("sum", combine(), {a, b});
  graph.add("twice", combine(), {sum, sum});
  graph.append(affine_layer(3), "scores");
  return graph;
}

/// The input itself has two readers, one of them a view; its gradient is wanted by nobody.
Graph two_on_the_input() {
  Graph graph;
  const int input = graph.add_input("input", {1, 3, 3});
  const int flat = graph.add("flat", flatten_layer(), {input});
  const int a = graph.add("a", affine_layer(5), {flat});
  const int other = graph.add("other", flatten_layer(), {input});
  const int b = graph.add("b", affine_layer(5), {other});
  graph.add("join", combine(), {a, b});
  graph.append(activation_layer(Activation::kSigmoid), "sigmoid");
  graph.append(affine_layer(3), "scores");
  return graph;
}

/// Slices that a concatenation joins in another order, sums of one value with itself, a gate that is
/// broadcast, and every way to look at the same elements.
Graph joints() {
  Graph graph;
  graph.add_input("input", {2, 5, 4});
  graph.append(conv2d_layer({.channels = 24, .padding = {1, 1, 1, 1}}), "conv");
  const int trunk = graph.append(activation_layer(Activation::kTanh), "tanh");
  const int first = graph.add("first", slice_layer(0, 0, 16), {trunk});
  const int rest = graph.add("rest", slice_layer(0, 16), {trunk});
  const int joined = graph.add("joined", concat_layer(), {rest, first});
  const int sum = graph.add("sum", add_layer(), {joined, trunk, trunk});
  graph.add("gate", conv2d_layer({.channels = 1, .kernel = {1, 1}}), {trunk});
  const int gate = graph.append(activation_layer(Activation::kSigmoid), "sigmoid");
  const int gated = graph.add("gated", arithmetic_layer(Arithmetic::kMultiply), {sum, gate});
  const int turned = graph.add("turned", permute_layer({1, 2, 0}), {gated});
  const int rows = graph.add("rows", reshape_layer({20, -1}), {turned});
  const int scaled = graph.add("scaled", map_layer(Map::kScale, 0.5), {rows});
  const int top = graph.add("top", slice_layer(-2, 0, 10), {scaled});
  const int bottom = graph.add("bottom", slice_layer(0, -10), {scaled});
  graph.add("difference", arithmetic_layer(Arithmetic::kSubtract), {top, bottom});
  graph.append(flatten_layer(), "flatten");
  graph.append(affine_layer(3), "scores");
  return graph;
}

struct Case {
  const char* name;
  Graph (*graph)();
  const char* loss;
};
const Case kCases[] = {
    {"lenet_cross_entropy",
     [] { return graph_from("{zoo: lenet5, input: [1, 8, 8], classes: 4, width: 0.25}"); },
     "softmax_cross_entropy"},
    {"lenet_l2", [] { return graph_from("{zoo: lenet5, input: [1, 8, 8], classes: 4, width: 0.25}"); }, "l2"},
    {"mlp_cross_entropy",
     [] { return graph_from("{zoo: mlp, input: [7], hidden: [9, 8], classes: 5, activation: tanh}"); },
     "softmax_cross_entropy"},
    {"mlp_l2",
     [] { return graph_from("{zoo: mlp, input: [7], hidden: [9, 8], classes: 5, activation: sigmoid}"); },
     "{l2: {half: false, mean: true}}"},
    {"residual_cross_entropy", residual, "softmax_cross_entropy"},
    {"residual_l2", residual, "l2"},
    {"web_cross_entropy", web, "softmax_cross_entropy"},
    {"web_l2", web, "l2"},
    {"conv1d",
     [] {
       return graph_from(
           "{input: [2, 9], layers: [{conv1d: {channels: 9, dilation: 2, padding: same}}, tanh,"
           " {conv1d: {channels: 8, kernel: 2, stride: 2, groups: 1}}, tanh,"
           " {conv1d: {channels: 4, padding: [1, 0], bias: false}}, flatten, {affine: 3}]}");
     },
     "softmax_cross_entropy"},
    {"padding_modes",
     [] {
       return graph_from(
           "{input: [2, 5, 6], layers: [{conv: {channels: 9, padding: 1, padding_mode: reflect}}, tanh,"
           " {conv: {channels: 5, kernel: 5, padding: same, padding_mode: circular}}, sigmoid,"
           " {conv: {channels: 4, padding: [3, 0, 1, 2], stride: 2, padding_mode: replicate}}, tanh,"
           " {reshape: [4, -1]}, {conv1d: {channels: 3, padding: 2, padding_mode: reflect}}, flatten,"
           " {affine: 3}]}");
     },
     "softmax_cross_entropy"},
    {"local_conv",
     [] {
       return graph_from(
           "{input: [2, 5, 4], layers: [{local_conv: {channels: 3, padding: same}}, tanh,"
           " {local_conv: {channels: 2, kernel: [2, 3], bias: false}}, flatten, {affine: 3}]}");
     },
     "softmax_cross_entropy"},
    {"conv_transpose",
     [] {
       return graph_from(
           "{input: [1, 4, 4], layers: [{conv: {channels: 8, stride: 2, padding: 1}}, tanh,"
           " {conv_transpose: {channels: 9, kernel: 4, stride: 2, padding: 1}}, tanh,"
           " {conv_transpose: {channels: 3, stride: 2, output_padding: 1, groups: 3, padding: [1, 0]}},"
           " flatten, {affine: 3}]}");
     },
     "softmax_cross_entropy"},
    {"two_on_the_input", two_on_the_input, "softmax_cross_entropy"},
    {"activations",
     [] {
       return graph_from(
           "{input: [6], layers: [{affine: 7}, {elu: 1.5}, {affine: 6}, identity, gelu, {affine: 6}, "
           "{gelu: {approximate: tanh}}, {affine: 6}, softmax, {affine: 3}]}");
     },
     "{softmax_cross_entropy: {class_weights: [1, 2, 0.5], label_smoothing: 0.1, weight: 0.7}}"},
    {"dropout",
     [] { return graph_from("{input: [6], layers: [{affine: 9}, tanh, {dropout: 0.3}, {affine: 4}]}"); },
     "{binary_cross_entropy: {mean: true}}"},
    {"pixels",
     [] { return graph_from("{input: [2, 5, 4], layers: [{conv: {channels: 3, kernel: 2}}, tanh]}"); },
     "{softmax_cross_entropy: {ignore: 2}}"},
    {"joints_cross_entropy", joints, "softmax_cross_entropy"},
    {"joints_l2", joints, "l2"},
};

class Gradients : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Networks, Gradients, testing::ValuesIn(kCases),
                         [](const auto& c) { return c.param.name; });

TEST_P(Gradients, AreThoseOfTheLoss) {
  const Graph graph = GetParam().graph();
  const LossSpec loss = loss_from(GetParam().loss);
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 21);
  const Batch batch = random_batch(graph, loss, 4, 3, 5);
  Plan plan(graph, *arena, loss, plan_options(4));
  const Outcome outcome = run(plan, *arena, batch);

  const auto loss_at = [&](float* w, float value) {
    const float before = *w;
    *w = value;
    plan.refresh_weights();
    plan.forward({batch.input.data()}, {batch.target.data()}, batch.context());
    *w = before;
    return plan.loss_values()[kLossSum];
  };
  const auto slope = [&](float* w, float h) {
    const float up = *w + h, down = *w - h;  // the distance that they really have
    return (loss_at(w, up) - loss_at(w, down)) / (static_cast<double>(up) - down);
  };
  double squares = 0;
  for (float g : outcome.gradients) squares += static_cast<double>(g) * g;
  const double typical = std::sqrt(squares / static_cast<double>(arena->n_parameters()));
  int64_t n_checked = 0, n_wrong = 0;
  for (const Segment& segment : arena->segments()) {
    for (int64_t i = 0; i < segment.n_elements(); ++i, ++n_checked) {
      float* w = arena->weights() + segment.offset + i;
      // Two differences, so that the h^2 of both cancel (Richardson). What remains: h^4, and the
      // rounding of the float32 forward, some 1e-7 of the loss, over h.
      const double expected = (4 * slope(w, 0x1p-6f) - slope(w, 0x1p-5f)) / 3;
      const double actual = outcome.gradients[segment.offset + i];
      const double tolerance = 1e-3 * std::abs(expected) + 1e-3 * typical;
      if (std::abs(actual - expected) <= tolerance) continue;  // false for NaN
      if (++n_wrong <= 5)
        ADD_FAILURE() << segment.name << "[" << i << "] = " << actual << ", expected " << expected
                      << " within " << tolerance;
    }
  }
  EXPECT_EQ(n_wrong, 0) << "of " << n_checked;
  EXPECT_EQ(n_checked, arena->n_parameters());
}

TEST_P(Gradients, DoNotDependOnReuseFusionOrOtherPasses) {
  const Graph graph = GetParam().graph();
  const LossSpec loss = loss_from(GetParam().loss);
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 21);
  const Batch batch = random_batch(graph, loss, 4, 3, 5);
  const Outcome outcome = run(graph, *arena, loss, batch, plan_options(4));
  PlanOptions options = plan_options(4);
  options.reuse_memory = false;
  expect_same_bits(run(graph, *arena, loss, batch, options).gradients, outcome.gradients, "without reuse");
  options.fuse = false;
  expect_near(run(graph, *arena, loss, batch, options).gradients, outcome.gradients, 1e-5, "without fusion");
  EXPECT_EQ(outcome.marks.back(), arena->n_elements());
}

/// The loss of a plan in evaluation, as a function of its input.
class EvaluatedLoss {
 public:
  EvaluatedLoss(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const Batch& batch)
      : batch_(batch), plan_(graph, arena, loss, options(batch.n)) {
    plan_.refresh_weights();
  }
  double operator()(const std::vector<float>& input) {
    plan_.forward({input.data()}, {batch_.target.data()}, batch_.context());
    return plan_.loss_values()[kLossSum];
  }
  std::vector<float> output() { return {plan_.output(), plan_.output() + plan_.output_shape().n_elements()}; }

 private:
  static PlanOptions options(int64_t n) {
    PlanOptions options = plan_options(n);
    options.config.training = false;
    return options;
  }
  const Batch& batch_;
  Plan plan_;
};

TEST(InputGradients, AreThoseOfTheNetworkInEvaluation) {
  const std::vector<std::string> models = {
      "{input: [2, 6, 6], layers: [{conv: {channels: 4, kernel: 3, padding: 1}}, batch_norm, tanh, {dropout: "
      "0.5}, "
      "{conv: {channels: 4, kernel: 3}}, batch_norm, sigmoid, flatten, {affine: 5}]}",
      "{input: [7], layers: [{affine: 6}, batch_norm, tanh, {affine: 3}]}",
      "{input: [3, 8, 8], layers: [{conv: {channels: 4, kernel: 3, padding: 1, name: c}}, {batch_norm: "
      "{name: "
      "b}}, {tanh: {name: "
      "t}}, {conv: {channels: 4, kernel: 3, padding: 1, name: d}}, {add: {from: [t, d]}}, "
      "global_average_pool, flatten, "
      "{affine: 2}]}"};
  for (const std::string& model : models) {
    const Graph graph = graph_from(model);
    const LossSpec loss = loss_from("l2");
    const auto arena = random_arena(graph, 3);
    for (const Segment& segment : arena->segments()) {  // running statistics far from those of the batch
      if (segment.spec.role != ParameterSpec::Role::kStatistic) continue;
      for (int64_t i = 0; i < segment.n_elements(); ++i)
        arena->weights_of(segment)[i] =
            segment.spec.initial == 1 ? 0.5F + 0.1F * static_cast<float>(i) : 0.3F;
    }
    const Batch batch = random_batch(graph, loss, 3, 3, 5);
    PlanOptions options = plan_options(3);
    options.input_gradients = true;
    Plan plan(graph, *arena, loss, options);
    EXPECT_FALSE(plan.synchronizes());
    plan.refresh_weights();
    const int64_t n = 3 * graph.vertex(0).shape.n_elements();
    std::vector<float> input(batch.input.as<float>(), batch.input.as<float>() + n), rubbish(1000000, NAN);
    EvaluatedLoss evaluated(graph, *arena, loss, batch);
    for (int again = 0; again < 2; ++again) {
      plan.forward({input.data()}, {batch.target.data()}, batch.context());
      ASSERT_GE(static_cast<int64_t>(rubbish.size()), arena->n_elements());
      plan.backward(rubbish.data(), nullptr);
    }
    const double value = evaluated(input);
    EXPECT_NEAR(plan.loss_values()[kLossSum], value, 1e-5 * std::abs(value)) << model;
    const float* const gradient = plan.input_gradient(0);
    double norm = 0, difference = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float x = input[i], h = 1e-2F;
      input[i] = x + h;
      const double above = evaluated(input);
      input[i] = x - h;
      const double below = evaluated(input);
      input[i] = x;
      const double expected = (above - below) / (2 * static_cast<double>(h));
      norm += expected * expected;
      difference += (gradient[i] - expected) * (gradient[i] - expected);
    }
    EXPECT_GT(norm, 1e-4) << model;
    EXPECT_LT(difference, 1e-5 * norm) << model;
  }
}

}  // namespace
}  // namespace lockstep
