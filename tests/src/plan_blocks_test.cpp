// What a plan does beyond a chain of layers: blocks computed again for backward must give the bits
// of blocks that are kept, shared parameters the sum of their gradients, several losses the sum
// of theirs; branches without a loss have gradients of zero.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

/// The parameters of `from` in the arena of another graph, by name.
void copy_weights(const ParameterArena& from, ParameterArena& to) {
  for (const Segment& target : to.segments()) {
    for (const Segment& source : from.segments()) {
      if (source.name == target.name)
        std::memcpy(to.weights() + target.offset, from.weights() + source.offset, source.n_elements() * 4);
    }
  }
}

std::vector<float> gradient(const Outcome& outcome, const ParameterArena& arena, const std::string& name) {
  for (const Segment& segment : arena.segments()) {
    if (segment.name == name)
      return {outcome.gradients.begin() + segment.offset,
              outcome.gradients.begin() + segment.offset + segment.n_elements()};
  }
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

/// Convolutions with a skip that leaves the middle of block b.0 for its outside.
std::string network(bool recompute) {
  const std::string flag = recompute ? "true" : "false";
  return "{input: [3, 12, 12], graph: [{conv: {channels: 8, kernel: 3, padding: 1, name: stem}}, tanh,"
         " {block: [{conv: {channels: 8, kernel: 3, padding: 1, name: c1}}, {relu: {name: middle}},"
         "          {conv: {channels: 8, kernel: 3, padding: 1, name: c2}}, {combine: {from: [c2, input]}}],"
         "  repeat: 3, name: b, recompute: " +
         flag +
         "},"
         " {combine: {from: [b, b.0.middle, tanh1], name: skip}}, {max_pool: 3}, flatten, {affine: "
         "{features: 5, name: head}}]}";
}

TEST(PlanBlocks, RecomputingGivesTheSameBitsInLessMemory) {
  const Graph kept = graph_from(network(false)), again = graph_from(network(true));
  const auto arena = random_arena(kept, 3);
  const LossSpec loss = loss_from("softmax_cross_entropy");
  const Batch batch = random_batch(kept, loss, 6, 5, 4);
  const Outcome expected = run(kept, *arena, loss, batch, plan_options(6));
  for (bool reuse : {true, false}) {
    for (bool fuse : {true, false}) {
      PlanOptions options = plan_options(6);
      options.reuse_memory = reuse;
      options.fuse = fuse;
      const Outcome reference = run(kept, *arena, loss, batch, options);
      const Outcome actual = run(again, *arena, loss, batch, options);
      EXPECT_EQ(actual.loss_values, reference.loss_values);
      expect_same_bits(actual.gradients, reference.gradients, "gradients");
      EXPECT_EQ(actual.marks, reference.marks);
    }
  }
  EXPECT_LT(Plan(again, *arena, loss, plan_options(6)).activation_bytes(),
            Plan(kept, *arena, loss, plan_options(6)).activation_bytes());
  EXPECT_NE(expected.loss_values[kLossSum], 0);
}

TEST(PlanBlocks, SharedParametersGetTheSumOfTheirGradients) {
  const std::string layers =
      "graph: [{affine: {features: 6, name: a}}, tanh, {affine: {features: 6, name: b SHARES}}, tanh,"
      " {affine: {features: 6, name: c SHARES}}, {affine: {features: 3, name: head}}]}";
  const auto with = [&](const std::string& shares) {
    std::string text = "{input: [6], " + layers;
    for (size_t at = text.find(" SHARES"); at != std::string::npos; at = text.find(" SHARES"))
      text.replace(at, 7, shares);
    return graph_from(text);
  };
  const Graph shared = with(", shares: a"), separate = with("");
  const auto arena = random_arena(shared, 8);
  auto copies = random_arena(separate, 9);
  copy_weights(*arena, *copies);
  for (const Segment& segment : copies->segments()) {  // b and c start as copies of a
    for (const Segment& source : arena->segments()) {
      if (source.name.starts_with("a.") && source.name.substr(1) == segment.name.substr(1) &&
          (segment.name[0] == 'b' || segment.name[0] == 'c'))
        std::memcpy(copies->weights() + segment.offset, arena->weights() + source.offset,
                    source.n_elements() * 4);
    }
  }
  const LossSpec loss = loss_from("l2");
  const Batch batch = random_batch(shared, loss, 5, 5, 4);
  const Outcome together = run(shared, *arena, loss, batch, plan_options(5));
  const Outcome apart = run(separate, *copies, loss, batch, plan_options(5));
  EXPECT_EQ(together.loss_values, apart.loss_values);
  for (const std::string kind : {".weight", ".bias"}) {
    std::vector<float> sum = gradient(apart, *copies, "c" + kind);
    for (const char* other : {"b", "a"}) {
      const std::vector<float> part = gradient(apart, *copies, other + kind);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    }
    expect_same_bits(gradient(together, *arena, "a" + kind), sum, "a" + kind);
  }
}

TEST(PlanBlocks, SeveralLossesAddTheirGradients) {
  const Graph graph = graph_from(
      "{input: [6], graph: [{affine: {features: 8, name: body}}, tanh, {affine: {features: 4, name: head}},"
      " {affine: {features: 6, name: decoder, from: tanh1}}], output: head}");
  const auto arena = random_arena(graph, 8);
  const LossSpec first = loss_from("{softmax_cross_entropy: {of: head}}"),
                 second = loss_from("{l2: {of: decoder, target: input}}");
  const Batch batch = random_batch(graph, first, 7, 6, 4);
  const auto outcome = [&](const std::vector<LossSpec>& losses) {
    Plan plan(graph, *arena, losses, plan_options(7));
    EXPECT_EQ(plan.output_shape(), (Shape{7, 4}));
    const Memory gradients = arena->make_parallel();
    plan.refresh_weights();
    std::vector<const void*> targets;
    if (losses[0].is_classification()) targets.push_back(batch.target.data());
    plan.forward({batch.input.data()}, targets, batch.context());
    Outcome result;
    result.loss_values.assign(plan.loss_values(), plan.loss_values() + kLossValues);
    plan.backward(gradients.as<float>(), nullptr);
    result.gradients.assign(gradients.as<float>(), gradients.as<float>() + arena->n_elements());
    return result;
  };
  const Outcome both = outcome({first, second}), one = outcome({first}), other = outcome({second});
  EXPECT_DOUBLE_EQ(both.loss_values[kLossSum], one.loss_values[kLossSum] + other.loss_values[kLossSum]);
  EXPECT_EQ(both.loss_values[kNCounted], one.loss_values[kNCounted]);
  std::vector<float> sum = one.gradients;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += other.gradients[i];
  expect_near(both.gradients, sum, 1e-6, "gradients");
  // A branch that no loss judges has gradients, and they are zero.
  for (float value : gradient(one, *arena, "decoder.weight")) EXPECT_EQ(value, 0);
  for (float value : gradient(other, *arena, "head.bias")) EXPECT_EQ(value, 0);
}

TEST(PlanBlocks, ALossThatIsNotFiniteNamesWhereItBegan) {
  const Graph graph = graph_from(network(true));
  const auto arena = random_arena(graph, 3);
  const LossSpec loss = loss_from("softmax_cross_entropy");
  Batch batch = random_batch(graph, loss, 4, 4, 4);
  Plan plan(graph, *arena, loss, plan_options(4));
  const auto first = [&] {
    run(plan, *arena, batch);
    EXPECT_FALSE(std::isfinite(plan.loss_values()[kLossSum]));
    return plan.first_not_finite();
  };
  for (const Segment& segment : arena->segments()) {
    if (segment.name != "b.1.c2.weight") continue;
    const float before = arena->weights()[segment.offset];
    arena->weights()[segment.offset] = NAN;
    EXPECT_NE(first().find("parameter 'b.1.c2.weight' of b.1.c2 (conv)"), std::string::npos) << first();
    arena->weights()[segment.offset] = before;
  }
  for (const Segment& segment : arena->segments()) {
    if (segment.name != "b.0.c2.weight") continue;
    for (int64_t i = 0; i < segment.n_elements(); ++i) arena->weights()[segment.offset + i] = 3e38f;
    EXPECT_NE(first().find("b.0.c2 (conv) was the first"), std::string::npos) << first();
    for (int64_t i = 0; i < segment.n_elements(); ++i) arena->weights()[segment.offset + i] = 0.01f;
  }
  batch.input.as<float>()[7] = NAN;
  EXPECT_NE(first().find("the data read by stem (conv)"), std::string::npos) << first();
}

}  // namespace
}  // namespace lockstep
