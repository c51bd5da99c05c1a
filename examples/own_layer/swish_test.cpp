// The layer of swish.cpp inside a network described as in a job file: its values against the formula,
// every gradient against finite differences.
#include <cmath>

#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

TEST(Swish, ComputesTheFormula) {
  const Graph graph = graph_from("{input: [7], layers: [{swish: {beta: 1.5, name: act}}]}");
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 1);
  ASSERT_EQ(arena->segments().size(), 1u);
  EXPECT_EQ(arena->segments()[0].name, "act.beta");
  arena->weights()[0] = 1.5f;
  const LossSpec loss = loss_from("l2");
  const Batch batch = random_batch(graph, loss, 3, 3, 1);
  const Outcome outcome = run(graph, *arena, loss, batch, plan_options(3));
  ASSERT_EQ(outcome.output.size(), 21u);
  for (size_t i = 0; i < outcome.output.size(); ++i) {
    const double x = batch.input.as<float>()[i];
    EXPECT_NEAR(outcome.output[i], x / (1 + std::exp(-1.5 * x)), 1e-6) << i;
  }
}

TEST(Swish, GradientsAreThoseOfFiniteDifferences) {
  const Graph graph = graph_from("{input: [5], layers: [{affine: 6}, swish, {affine: 4}, {swish: 0.5}]}");
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 2);
  const LossSpec loss = loss_from("l2");
  const Batch batch = random_batch(graph, loss, 4, 3, 2);  // the last row is padding
  const std::vector<float> gradients = run(graph, *arena, loss, batch, plan_options(4)).gradients;
  int n_compared = 0;
  for (const Segment& segment : arena->segments()) {
    for (int64_t i = 0; i < segment.n_elements(); ++i) {
      float& weight = arena->weights()[segment.offset + i];
      const float saved = weight, step = 1e-2f;
      weight = saved + step;
      const double above = run(graph, *arena, loss, batch, plan_options(4)).loss_values[0];
      weight = saved - step;
      const double below = run(graph, *arena, loss, batch, plan_options(4)).loss_values[0];
      weight = saved;
      // Central differences of float32 losses: truncation of step^2, rounding of 1e-7 / step.
      const double expected = (above - below) / (2 * step);
      EXPECT_NEAR(gradients[segment.offset + i], expected, 5e-3 * std::max(1.0, std::abs(expected)))
          << segment.name << " " << i;
      ++n_compared;
    }
  }
  EXPECT_EQ(n_compared, 5 * 6 + 6 + 1 + 6 * 4 + 4 + 1);
}

TEST(Swish, MistakesAreCaughtAsThoseOfAnyLayer) {
  expect_error([] { graph_from("{input: [5], layers: [{swish: {bta: 1}}]}"); },
               {"bta", "did you mean 'beta'"});
  expect_error([] { graph_from("{input: [5], layers: [swisch]}"); }, {"did you mean 'swish'"});
}

}  // namespace
}  // namespace lockstep
