// Ten training steps from fixed weights on fixed data against PyTorch 2.15, whose losses stand
// here as literals (computed in float64; in float32 it differs by up to 6e-7 itself). Weights
// and data come from sin() of an index, so that no fixture file is needed.
#include <cmath>

#include "src/update/optimizer.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

struct Trajectory {
  const char* name;
  const char* model;
  int64_t n;
  const char* loss;
  const char* optimizer;
  double losses[10];
};

const Trajectory kTrajectories[] = {
    {"mlp_sgd",
     "{zoo: mlp, input: [12], hidden: [9, 7], classes: 10}",
     16,
     "softmax_cross_entropy",
     "{sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}",
     {3.835674, 3.2503392, 2.5366318, 2.0924205, 1.9053434, 1.8111424, 1.727739, 1.6484936, 1.605548,
      1.5823235}},
    {"mlp_nesterov",
     "{zoo: mlp, input: [12], hidden: [9, 7], outputs: 10}",
     16,
     "l2",
     "{sgd: {lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 0.01}}",
     {13.214792, 1.3445636, 0.55475793, 0.48260891, 0.47033091, 0.47109272, 0.47179187, 0.47702994,
      0.47572852, 0.46573889}},
    {"mlp_adam",
     "{zoo: mlp, input: [12], hidden: [9, 7], classes: 10}",
     16,
     "softmax_cross_entropy",
     "{adam: {lr: 0.01, weight_decay: 0.02}}",
     {3.835674, 3.5627425, 3.3157011, 3.0950292, 2.8990954, 2.729097, 2.5829877, 2.4556374, 2.3444559,
      2.2536474}},
    {"mlp_adamw",
     "{zoo: mlp, input: [12], hidden: [9, 7], outputs: 10}",
     16,
     "l2",
     "{adamw: {lr: 0.01, weight_decay: 0.1}}",
     {13.214792, 10.632827, 8.5022313, 6.7815394, 5.4102122, 4.3197257, 3.4497397, 2.7636681, 2.2298342,
      1.8111725}},
    {"lenet5_sgd",
     "{zoo: lenet5, input: [1, 28, 28], classes: 10, activation: relu, pooling: max}",
     8,
     "softmax_cross_entropy",
     "{sgd: {lr: 0.02, momentum: 0.9, weight_decay: 0.01}}",
     {2.350854, 2.3415798, 2.3320684, 2.2813728, 2.173608, 1.9761467, 1.8046327, 1.694865, 1.5685274,
      1.4400604}},
    {"lenet5_adam",
     "{zoo: lenet5, input: [1, 28, 28], classes: 10}",
     8,
     "softmax_cross_entropy",
     "{adam: {lr: 0.002, weight_decay: 0.02}}",
     {2.3497327, 2.2949799, 2.1364698, 1.9110625, 1.7013602, 1.5132713, 1.3371788, 1.1834653, 1.0568587,
      0.94037912}},
};

/// Parameter k of the network, counted forward, weight before bias.
void fill_weights(const Graph& graph, const ParameterArena& arena) {
  int k = 0;
  for (int v = 0; v < graph.size(); ++v) {
    for (const Segment* segment : arena.of_vertex(graph, v)) {
      const bool is_bias = segment->spec.role == ParameterSpec::Role::kBias;
      const double scale = is_bias ? 0.1 : 1.7 / std::sqrt(static_cast<double>(segment->spec.fan_in));
      for (int64_t i = 0; i < segment->n_elements(); ++i) {
        arena.weights()[segment->offset + i] =
            static_cast<float>(scale * std::sin(1.0 + 0.7 * k + (0.61 + 0.13 * k) * static_cast<double>(i)));
      }
      ++k;
    }
  }
}

/// Samples and classes (one-hot for L2) of the formula.
Batch make_batch(const Graph& graph, const LossSpec& loss, int64_t n) {
  Batch batch = random_batch(graph, loss, n, n, 1);
  const int64_t sample = graph.vertex(0).shape.n_elements();
  for (int64_t i = 0; i < n * sample; ++i) {
    batch.input.as<float>()[i] = static_cast<float>(
        std::sin(0.37 * static_cast<double>(i) + 0.011 * static_cast<double>((i / sample) * (i % sample))));
  }
  for (int64_t row = 0; row < n; ++row) {
    const int64_t label = (3 * row + row / 4) % 10;
    if (loss.is_classification()) batch.target.as<int64_t>()[row] = label;
    for (int64_t j = 0; j < 10 && !loss.is_classification(); ++j)
      batch.target.as<float>()[row * 10 + j] = j == label ? 1.0f : 0.0f;
  }
  return batch;
}

class PyTorch : public testing::TestWithParam<Trajectory> {};
INSTANTIATE_TEST_SUITE_P(Trajectories, PyTorch, testing::ValuesIn(kTrajectories),
                         [](const auto& one) { return one.param.name; });

TEST_P(PyTorch, TenStepsHaveItsLosses) {
  const Trajectory& t = GetParam();
  const Graph graph = graph_from(t.model);
  const LossSpec loss = loss_from(t.loss);
  const ParameterArena arena(graph, Device{});
  fill_weights(graph, arena);
  const Batch batch = make_batch(graph, loss, t.n);
  Plan plan(graph, arena, loss, plan_options(t.n));
  Optimizer optimizer(
      read_optimizer(Config::from_text(std::string("optimizer: ") + t.optimizer, "test").at("optimizer")),
      arena);
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  for (int step = 0; step < 10; ++step) {
    Outcome outcome = run(plan, arena, batch);
    EXPECT_NEAR(outcome.loss_values[kLossSum] / static_cast<double>(t.n), t.losses[step],
                1e-5 * t.losses[step])
        << "step " << step;
    optimizer.update(*stream, outcome.gradients.data(), optimizer.spec().lr, 1.0 / static_cast<double>(t.n),
                     step);
  }
  EXPECT_LT(t.losses[9], t.losses[0]);
}

}  // namespace
}  // namespace lockstep
