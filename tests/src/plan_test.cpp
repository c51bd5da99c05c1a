// Plan: the ways to compile a graph agree, gradients are those of the loss, padding rows do
// not exist, and what is announced as final is final.
#include "src/plan/plan.h"

#include <algorithm>
#include <cmath>

#include "src/network/layers/layers.h"
#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

struct Case {
  const char* name;
  const char* model;
  const char* loss;
  int64_t n, n_valid;
};

const Case kCases[] = {
    {"mlp", "{zoo: mlp, input: [13], hidden: [17, 9], classes: 5}", "softmax_cross_entropy", 8, 8},
    {"mlp_l2", "{zoo: mlp, input: [13], hidden: [17], outputs: 3, activation: tanh}", "l2", 6, 5},
    {"linear", "{zoo: linear, input: [4], outputs: 1}", "{l2: {half: false, mean: true}}", 5, 5},
    {"logistic", "{zoo: logistic, input: [2, 3, 3], classes: 4}", "softmax_cross_entropy", 3, 3},
    {"lenet_tanh", "{zoo: lenet5, input: [1, 8, 8], classes: 10}", "softmax_cross_entropy", 8, 7},
    {"lenet_relu", "{zoo: lenet5, input: [1, 28, 28], classes: 10, activation: relu, pooling: max}",
     "softmax_cross_entropy", 4, 4},
    {"lenet_l2", "{zoo: lenet5, input: [3, 20, 24], classes: 6, activation: sigmoid}", "l2", 4, 3},
    {"odd",
     "{input: [4, 9, 7], layers: [{conv: {channels: 6, kernel: [3, 2], stride: [2, 1], padding: [1, 0, 0, "
     "1], groups: 2}}, relu,"
     " {max_pool: {kernel: 3, stride: 1, padding: 1}}, {conv: {channels: 5, kernel: 2, dilation: 2, bias: "
     "false}}, tanh,"
     " {average_pool: {kernel: [2, 1]}}, flatten, {affine: {features: 7, bias: false}}, sigmoid, {affine: "
     "4}]}",
     "softmax_cross_entropy", 5, 5},
    {"activation_first", "{input: [6], layers: [tanh, {affine: 5}, relu, sigmoid, {affine: 3}, tanh]}", "l2",
     4, 4},
    {"many_activations",
     "{input: [3, 6, 6], layers: [{conv: {channels: 5}}, relu6, {conv: {channels: 4}}, leaky_relu, {prelu: "
     "{per_channel: true}}, flatten, {affine: 40}, relu6, prelu, {affine: 7}, "
     "identity]}",
     "{hinge: {margin: 0.5, mean: true}}", 20, 19},
    {"one_score", "{input: [6], layers: [{affine: 5}, {elu: 1}, {affine: 1}]}", "hinge", 4, 3},
    {"distances", "{input: [6], layers: [{affine: 5}, gelu]}", "{l1: {mean: true, weight: 0.5}}", 4, 3},
    {"no_weights_behind",
     "{input: [1, 4, 4], layers: [{conv: {channels: 3, kernel: 2}}, {max_pool: 3}, flatten]}",
     "softmax_cross_entropy", 4, 4},
};

class PlanCase : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    graph_ = graph_from(GetParam().model);
    loss_ = loss_from(GetParam().loss);
    arena_ = random_arena(graph_, 4);
    batch_ = random_batch(graph_, loss_, GetParam().n, GetParam().n_valid, 9);
  }
  Outcome outcome(const PlanOptions& options) const { return run(graph_, *arena_, loss_, batch_, options); }

  Graph graph_;
  LossSpec loss_;
  std::unique_ptr<ParameterArena> arena_;
  Batch batch_;
};
INSTANTIATE_TEST_SUITE_P(Networks, PlanCase, testing::ValuesIn(kCases),
                         [](const auto& c) { return c.param.name; });

TEST_P(PlanCase, ReuseOfMemoryChangesNoBit) {
  PlanOptions separate = plan_options(batch_.n);
  separate.reuse_memory = false;
  const Outcome a = outcome(plan_options(batch_.n)), b = outcome(separate);
  EXPECT_EQ(a.loss_values, b.loss_values);
  expect_same_bits(a.output, b.output, "output");
  expect_same_bits(a.gradients, b.gradients, "gradients");
  const Plan reusing(graph_, *arena_, loss_, plan_options(batch_.n)), plain(graph_, *arena_, loss_, separate);
  EXPECT_LE(reusing.activation_bytes(), plain.activation_bytes());
}

TEST_P(PlanCase, RepeatsGiveEqualBits) {
  Plan plan(graph_, *arena_, loss_, plan_options(batch_.n));
  const Batch other = random_batch(graph_, loss_, batch_.n, 1, 10);
  const Outcome first = run(plan, *arena_, batch_);
  run(plan, *arena_, other);
  const Outcome again = run(plan, *arena_, batch_);
  EXPECT_EQ(first.loss_values, again.loss_values);
  expect_same_bits(first.output, again.output, "output");
  expect_same_bits(first.gradients, again.gradients, "gradients");
}

TEST_P(PlanCase, FusionChangesRoundingAtMost) {
  PlanOptions unfused = plan_options(batch_.n);
  unfused.fuse = false;
  const Outcome a = outcome(plan_options(batch_.n)), b = outcome(unfused);
  EXPECT_NEAR(a.loss_values[kLossSum], b.loss_values[kLossSum], 1e-5 * std::abs(b.loss_values[kLossSum]));
  expect_near(a.output, b.output, 1e-5, "output");
  expect_near(a.gradients, b.gradients, 1e-5, "gradients");
}

TEST_P(PlanCase, EvaluationGivesTheOutputsOfTraining) {
  PlanOptions evaluation = plan_options(batch_.n);
  evaluation.config.training = false;
  Plan plan(graph_, *arena_, loss_, evaluation);
  plan.refresh_weights();
  plan.forward({batch_.input.data()}, {batch_.target.data()}, batch_.context());
  const Outcome training = outcome(plan_options(batch_.n));
  const int64_t n_output = plan.output_shape().n_elements();
  expect_near({plan.output(), plan.output() + n_output}, training.output, 1e-5, "output");
  EXPECT_NEAR(plan.loss_values()[kLossSum], training.loss_values[kLossSum],
              1e-5 * training.loss_values[kLossSum]);
  // Without a target there is an output, and no loss is touched.
  plan.forward({batch_.input.data()}, {}, batch_.context());
  expect_near({plan.output(), plan.output() + n_output}, training.output, 1e-5, "output without target");
}

TEST_P(PlanCase, PaddingRowsDoNotExist) {
  for (int64_t n_valid : {int64_t{1}, batch_.n - 1}) {
    const Batch valid = random_batch(graph_, loss_, n_valid, n_valid, 9);
    const Outcome expected = run(graph_, *arena_, loss_, valid, plan_options(n_valid));
    for (Padding padding : {Padding::kZeros, Padding::kRubbish}) {
      const Batch padded = random_batch(graph_, loss_, batch_.n, n_valid, 9, padding);
      const Outcome actual = run(graph_, *arena_, loss_, padded, plan_options(batch_.n));
      EXPECT_EQ(actual.loss_values[kNCounted], static_cast<double>(n_valid));
      EXPECT_EQ(actual.loss_values[kNCorrect], expected.loss_values[kNCorrect]);
      EXPECT_NEAR(actual.loss_values[kLossSum], expected.loss_values[kLossSum],
                  1e-5 * expected.loss_values[kLossSum]);
      expect_near(actual.gradients, expected.gradients, 1e-5,
                  "gradients of " + std::to_string(n_valid) + " rows");
    }
  }
}

TEST_P(PlanCase, ABatchOfPaddingHasZeroGradient) {
  for (Padding padding : {Padding::kZeros, Padding::kRubbish}) {
    const Outcome nothing = run(graph_, *arena_, loss_, random_batch(graph_, loss_, batch_.n, 0, 9, padding),
                                plan_options(batch_.n));
    EXPECT_EQ(nothing.loss_values[kLossSum], 0);
    EXPECT_EQ(nothing.loss_values[kNCounted], 0);
    EXPECT_TRUE(
        std::all_of(nothing.gradients.begin(), nothing.gradients.end(), [](float g) { return g == 0; }));
  }
}

TEST_P(PlanCase, FinalMarksAreMonotoneCompleteAndTrue) {
  const Memory gradients = arena_->make_parallel();
  auto* g = gradients.as<float>();
  std::fill_n(g, arena_->n_elements(), -12345.0f);  // shows a mark that comes too early
  Plan plan(graph_, *arena_, loss_, plan_options(batch_.n));
  plan.refresh_weights();
  plan.forward({batch_.input.data()}, {batch_.target.data()}, batch_.context());
  std::vector<std::vector<float>> snapshots;
  plan.backward(g, [&](int64_t final_below) { snapshots.push_back({g, g + final_below}); });

  ASSERT_FALSE(snapshots.empty());
  EXPECT_EQ(static_cast<int64_t>(snapshots.back().size()), arena_->n_elements());
  int n_layers_with_parameters = 0;
  for (int v = 0; v < graph_.size(); ++v) n_layers_with_parameters += !arena_->of_vertex(graph_, v).empty();
  EXPECT_EQ(static_cast<int>(snapshots.size()), n_layers_with_parameters);  // every layer lets its bucket go
  const std::vector<int64_t> borders = arena_->borders();
  size_t before = 0;
  for (const std::vector<float>& snapshot : snapshots) {
    EXPECT_GT(snapshot.size(), before);
    before = snapshot.size();
    EXPECT_TRUE(std::count(borders.begin(), borders.end(), static_cast<int64_t>(before)));
    EXPECT_TRUE(std::equal(snapshot.begin(), snapshot.end(), g)) << "changed after the mark " << before;
    for (const Segment& segment : arena_->segments()) {
      if (segment.offset >= static_cast<int64_t>(before)) continue;
      const auto begin = snapshot.begin() + segment.offset;
      EXPECT_EQ(std::count(begin, begin + segment.n_elements(), -12345.0f), 0)
          << segment.name << " was not written at its mark";
    }
  }
}

TEST(Plan, RefusesALossThatDoesNotFit) {
  const Graph graph = graph_from("{input: [1, 8, 8], layers: [{conv: {channels: 2}}]}");
  const ParameterArena arena(graph, Device{});
  expect_error([&] { Plan(graph, arena, loss_from("hinge"), plan_options(2)); },
               {"loss hinge", "the network gives (2, 6, 6) per sample", "flatten"});
  expect_error([&] { Plan(graph, arena, loss_from("perceptron"), plan_options(2)); },
               {"loss perceptron", "needs one score", "affine: 1"});
}

TEST(Plan, IsPrintedStepByStep) {
  const Graph graph = graph_from("{zoo: lenet5, input: [1, 28, 28], classes: 10}");
  const ParameterArena arena(graph, Device{});
  const std::string text = Plan(graph, arena, LossSpec{}, plan_options(2)).str();
  for (const char* part :
       {"conv1 (conv)", "(2, 6, 28, 28)", "+ tanh 'tanh1'", "fc3 (affine)", "loss", "view", "MiB"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
}

TEST(Plan, ReuseSavesMemoryInADeepNetwork) {
  const Graph graph = graph_from("{zoo: mlp, input: [64], hidden: [64, 64, 64, 64, 64, 64], classes: 10}");
  const ParameterArena arena(graph, Device{});
  PlanOptions separate = plan_options(32), evaluation = plan_options(32);
  separate.reuse_memory = false;
  evaluation.config.training = false;
  const int64_t reused = Plan(graph, arena, LossSpec{}, plan_options(32)).activation_bytes();
  EXPECT_LT(reused, Plan(graph, arena, LossSpec{}, separate).activation_bytes());
  EXPECT_LT(Plan(graph, arena, LossSpec{}, evaluation).activation_bytes(), reused);
}

}  // namespace
}  // namespace lockstep
