// Optimizers over an arena, by hand: which segments decay, what padding stays, which slots there are.
#include "src/update/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "src/network/layers/layers.h"

namespace lockstep {
namespace {

Config config(const std::string& text) { return Config::from_text("x: " + text, "job.yaml").at("x"); }

struct Updated {
  std::map<std::string, std::vector<float>> weights, first_slot;
  bool padding_is_zero = true;
};

/// Weights 0.5, summed gradients 2 over 4 samples; `n` updates with lr 0.1.
Updated update(const std::string& text, int n) {
  Graph graph;
  graph.add_input("input", {5});
  graph.append(affine_layer(7), "a");
  graph.append(affine_layer(3), "b");
  const ParameterArena arena(graph, Device{});
  const Memory gradients = arena.make_parallel();
  for (const Segment& s : arena.segments()) {
    std::fill_n(arena.weights() + s.offset, s.n_elements(), 0.5f);
    std::fill_n(gradients.as<float>() + s.offset, s.n_elements(), 2.0f);
  }
  Optimizer optimizer(read_optimizer(config(text)), arena);
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  for (int step = 0; step < n; ++step) optimizer.update(*stream, gradients.as<float>(), 0.1, 0.25, step);
  Updated result;
  std::vector<bool> used(arena.n_elements(), false);
  for (const Segment& s : arena.segments()) {
    const auto copy = [&](const float* base) {
      return std::vector<float>(base + s.offset, base + s.offset + s.n_elements());
    };
    result.weights[s.name] = copy(arena.weights());
    if (!optimizer.slots().empty()) result.first_slot[s.name] = copy(optimizer.slots()[0].memory.as<float>());
    std::fill_n(used.begin() + s.offset, s.n_elements(), true);
  }
  for (int64_t i = 0; i < arena.n_elements(); ++i)
    result.padding_is_zero &= used[i] || arena.weights()[i] == 0;
  return result;
}

void expect_weights(const std::string& text, int n, double weight, double bias) {
  const Updated result = update(text, n);
  EXPECT_TRUE(result.padding_is_zero) << text;
  ASSERT_EQ(result.weights.size(), 4u);
  for (const auto& [name, values] : result.weights) {
    const double expected = name.ends_with("bias") ? bias : weight;
    for (float value : values) EXPECT_NEAR(value, expected, 1e-6) << text << " " << name;
  }
}

TEST(Optimizer, SgdByHandAndDecaySkipsBiases) {
  expect_weights("{sgd: {lr: 1}}", 1, 0.45, 0.45);                     // 0.5 - 0.1 * 0.5
  expect_weights("{sgd: {lr: 1, weight_decay: 0.2}}", 1, 0.44, 0.45);  // g = 0.5 + 0.2 * 0.5
  expect_weights("{sgd: {lr: 1, weight_decay: 0.2, decay_biases: true}}", 1, 0.44, 0.44);
  expect_weights("{sgd: {lr: 1, momentum: 0.5}}", 2, 0.375, 0.375);                  // v = 0.5, 0.75
  expect_weights("{sgd: {lr: 1, momentum: 0.5, nesterov: true}}", 1, 0.425, 0.425);  // 0.5 + 0.5 * 0.5
  // Decay and momentum: v1 = 0.6, w1 = 0.44; v2 = 0.3 + 0.5 + 0.088, w2 = 0.44 - 0.0888
  expect_weights("{sgd: {lr: 1, momentum: 0.5, weight_decay: 0.2}}", 2, 0.3512, 0.375);
}

TEST(Optimizer, AdamByHandAndDecaySkipsBiases) {
  expect_weights("adam", 1, 0.4, 0.4);  // the first step is lr * sign(g)
  expect_weights("adam", 3, 0.2, 0.2);  // and so is every step of a constant gradient
  expect_weights("{adam: {weight_decay: 100}}", 1, 0.4, 0.4);
  expect_weights("{adamw: {weight_decay: 0.5}}", 1, 0.375, 0.4);           // 0.5 * (1 - 0.05) - 0.1
  EXPECT_FLOAT_EQ(update("adam", 1).first_slot.at("a.weight")[0], 0.05f);  // (1 - beta1) * g
}

TEST(Optimizer, SlotsAreNamedForCheckpoints) {
  Graph graph;
  graph.add_input("input", {5});
  graph.append(affine_layer(7));
  const ParameterArena arena(graph, Device{});
  const auto slots = [&](const std::string& text) {
    std::vector<std::string> names;
    const Optimizer optimizer(read_optimizer(config(text)), arena);
    for (const Optimizer::Slot& slot : optimizer.slots()) names.push_back(slot.name);
    return names;
  };
  EXPECT_EQ(slots("{sgd: {lr: 1}}"), std::vector<std::string>{});
  EXPECT_EQ(slots("{sgd: {lr: 1, momentum: 0.9}}"), std::vector<std::string>{"velocity"});
  EXPECT_EQ(slots("adam"), (std::vector<std::string>{"m", "v"}));
  EXPECT_EQ(slots("adamw"), (std::vector<std::string>{"m", "v"}));
}

}  // namespace
}  // namespace lockstep
