// Networks for tests of the plan: graphs by job-file text, seeded weights and batches, and one
// forward and backward with everything that came out.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "src/network/model.h"
#include "src/plan/plan.h"

namespace lockstep {

/// Where plans of this test program run: the CPU; with LOCKSTEP_TEST_CUDA cuda:0.
inline Device network_device() {
#ifdef LOCKSTEP_TEST_CUDA
  return {Device::Kind::kCuda, 0};
#else
  return {};
#endif
}

/// From the `model` key of a job file, such as "{zoo: mlp, input: [4], classes: 3}".
Graph graph_from(const std::string& model);

/// The loss by its job-file name.
LossSpec loss_from(const std::string& loss);

/// An arena with weights of he_normal size, biases included (zero biases hide mistakes).
std::unique_ptr<ParameterArena> random_arena(const Graph& graph, uint64_t seed);

/// N samples and their targets. Rows from n_valid on are as `padding` says: zeros are what the
/// loader leaves there, rubbish is what must not matter either.
struct Batch {
  Memory input, target;
  std::vector<int64_t> sample_ids;
  int64_t n = 0, n_valid = 0;

  BatchContext context() const;
};
enum class Padding { kZeros, kRubbish };
Batch random_batch(const Graph& graph, const LossSpec& loss, int64_t n, int64_t n_valid, uint64_t seed,
                   Padding padding = Padding::kZeros);

struct Outcome {
  std::vector<double> loss_values;
  std::vector<float> output, gradients;  // gradients: the whole arena, padding included
  std::vector<int64_t> marks;            // what final_below was called with
};

PlanOptions plan_options(int64_t n);

/// refresh_weights(), forward() and backward() into an array that was full of NaN between the
/// segments' borders.
Outcome run(Plan& plan, const ParameterArena& arena, const Batch& batch);
/// The same with a plan made for it.
Outcome run(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const Batch& batch,
            const PlanOptions& options);

/// Expects |a - b| <= relative * max(|b|, rms(b)) for every element; returns how many differ in bits.
int64_t expect_near(const std::vector<float>& a, const std::vector<float>& b, double relative,
                    const std::string& what);
/// Expects equal bits, and at least one element that is not zero.
void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what);

}  // namespace lockstep
