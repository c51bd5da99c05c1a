#include "tests/src/token_trajectory.h"

#include <gtest/gtest.h>

#include <numeric>

#include "src/update/optimizer.h"
#include "tests/src/network.h"
#include "tests/src/sequence_fixture.h"

namespace lockstep {

void expect_token_trajectory(const TokenTrajectory& expected, const Graph& graph, ParameterArena& arena,
                             const std::vector<const void*>& inputs, const std::vector<int64_t>& targets) {
  const std::unique_ptr<Stream> stream = make_stream(network_device());
  Plan plan(graph, arena, loss_from("token_cross_entropy"), plan_options(expected.samples));
  Optimizer optimizer(read_optimizer(Config::from_text("{adam: {lr: 1}}", "optimizer")), arena);
  const Memory gradients = arena.make_parallel();
  std::vector<int64_t> sample_ids(static_cast<size_t>(expected.samples));
  std::iota(sample_ids.begin(), sample_ids.end(), int64_t{0});
  BatchContext batch;
  batch.n_valid = expected.samples;
  batch.sample_ids = sample_ids.data();
  const std::vector<float> losses = fixture_values(expected.file, expected.name + "/losses");
  ASSERT_EQ(losses.size(), 10u);
  for (int step = 0; step < 10; ++step) {
    plan.refresh_weights();
    plan.forward(inputs, {targets.data()}, batch);
    const double* sums = plan.loss_values();
    EXPECT_NEAR(sums[kLossSum] / sums[kWeightSum], losses[static_cast<size_t>(step)], 1e-4 * losses[0])
        << "step " << step;
    const double scale = 1 / sums[kWeightSum];
    if (step == 0) {
      std::vector<float> found(plan.output(), plan.output() + plan.output_shape().n_elements());
      std::vector<float> output = fixture_values(expected.file, expected.name + "/output");
      for (size_t i = 0; i < found.size(); ++i)  // nobody asks what stands behind the end of a row
        if (targets[i / static_cast<size_t>(expected.vocabulary)] < 0) found[i] = output[i] = 0;
      expect_near(found, output, expected.output_tolerance, "output");
    }
    plan.backward(gradients.as<float>(), nullptr);
    optimizer.update(*stream, gradients.as<float>(), expected.lr, scale, step);
    stream->synchronize();
  }
}

}  // namespace lockstep
