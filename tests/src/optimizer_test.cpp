// Optimizers over an arena, by hand: which segments decay, what padding stays, which slots there are.
#include "src/update/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "src/network/layers/layers.h"
#include "tests/src/sequence_fixture.h"

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
  const OptimizerSpec spec = read_optimizer(config(text));
  check_groups(spec.groups, graph);
  Optimizer optimizer(spec, arena);
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

TEST(Optimizer, GroupsHaveARateAndADecayOfTheirOwn) {
  const Updated plain = update("{adamw: {weight_decay: 0.5}}", 3);
  const Updated result = update(
      "{adamw: {weight_decay: 0.5, groups: [{match: '^a', lr_factor: 0.5, weight_decay: 0.25},"
      " {match: [bias, a.weight], frozen: true}]}}",
      3);
  EXPECT_TRUE(result.padding_is_zero);
  // Three steps of lr 0.05: w * (1 - 0.05 * 0.25) - 0.05 each; biases do not decay. The first match counts.
  EXPECT_NEAR(result.weights.at("a.weight")[0], 0.3333506, 1e-6);
  EXPECT_NEAR(result.weights.at("a.bias")[0], 0.35, 1e-6);
  EXPECT_EQ(result.weights.at("b.weight"), plain.weights.at("b.weight"));
  for (const float value : result.weights.at("b.bias")) EXPECT_EQ(value, 0.5f);     // bit for bit
  for (const float value : result.first_slot.at("b.bias")) EXPECT_EQ(value, 0.0f);  // and no state
  EXPECT_EQ(result.first_slot.at("a.bias"), plain.first_slot.at("a.bias"));
  // A group that changes nothing has the bits of none.
  const Updated same = update("{adamw: {weight_decay: 0.5, groups: [{match: weight, lr_factor: 1}]}}", 3);
  EXPECT_EQ(same.weights, plain.weights);
}

TEST(Optimizer, GroupsThatMatchNothingAreNamed) {
  const auto reason = [](const std::string& groups) -> std::string {
    try {
      update("{sgd: {lr: 1, groups: " + groups + "}}", 1);
      return "was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.where().substr(0, 8), "job.yaml") << error.what();
      EXPECT_FALSE(error.remedy().empty()) << error.what();
      return error.reason();
    }
  };
  EXPECT_EQ(reason("[{match: a.weigth}]"),
            "'a.weigth' matches none of the 4 parameters; did you mean 'a.weight'?");
  EXPECT_EQ(reason("[{match: [weight, '^c']}]").substr(0, 39), "'^c' matches none of the 4 parameters");
  EXPECT_NE(reason("[{match: '(', frozen: true}]").find("no regular expression"), std::string::npos);
  EXPECT_NE(reason("[{frozen: true}]").find("no match"), std::string::npos);
  EXPECT_NE(reason("[{match: a, lr_factor: -1}]").find("negative"), std::string::npos);
  EXPECT_NE(reason("[{match: a, weight_decay: -1}]").find("negative"), std::string::npos);
  EXPECT_NE(reason("[{match: a, lr_factor: 2, frozen: true}]").find("frozen group"), std::string::npos);
  EXPECT_NE(reason("[{match: a, rate: 2}]").find("rate"), std::string::npos);
  EXPECT_NE(reason("{match: a}").find("is a list"), std::string::npos);
  EXPECT_NE(reason("[{match: weight, frozen: true}, {match: bias, frozen: true}]").find("all parameters"),
            std::string::npos);
}

TEST(Optimizer, WeightsHaveARunningAverage) {
  Graph graph;
  graph.add_input("input", {5});
  graph.append(affine_layer(7), "a");
  const ParameterArena arena(graph, Device{});
  const Memory gradients = arena.make_parallel();
  const Segment& weight = arena.segments()[0];
  OptimizerSpec spec = read_optimizer(config("{sgd: {lr: 1, groups: [{match: bias, frozen: true}]}}"));
  const auto root = [](const std::string& text) { return Config::from_text(text, "job.yaml"); };
  EXPECT_FALSE(read_weight_average(root("x: 1")));
  EXPECT_EQ(read_weight_average(root("average: 0.75"))->ema, 0.75);
  for (const char* text : {"average: 1", "average: {ema: 0}", "average: {ema: nan}", "average: {sma: 3}",
                           "average: {swa: {from_epoch: 0}}", "average: {swa: {every_epochs: 1}}",
                           "average: {ema: 0.5, swa: {from_epoch: 1}}"})
    EXPECT_THROW(read_weight_average(root(text)), Error) << text;
  spec.average = read_weight_average(root("average: {ema: 0.75}"));
  Optimizer optimizer(spec, arena, {{16, arena.n_elements()}});  // a part, as sharded state has it
  ASSERT_EQ(optimizer.slots().back().name, "average");
  const float* const average = optimizer.slots().back().memory.as<float>() - 16;
  std::fill_n(arena.weights(), arena.n_elements(), 0.5f);
  std::fill_n(gradients.as<float>(), arena.n_elements(), 1.0f);
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  for (int step = 0; step < 3; ++step) {
    optimizer.update(*stream, gradients.as<float>(), 0.125, 1, step);
    optimizer.average(*stream, step, 1);
  }
  // Weights 0.375, 0.25, 0.125; 0.375 - 0.125 / 4 = 0.34375; 0.34375 - 0.21875 / 4.
  EXPECT_EQ(arena.weights()[weight.offset + 16], 0.125f);
  EXPECT_EQ(average[weight.offset + 16], 0.2890625f);
  const Segment& bias = arena.segments()[1];
  EXPECT_EQ(bias.name, "a.bias");
  EXPECT_EQ(average[bias.offset], 0.5f);  // frozen: as the weight, bit for bit
}

/// Against tests/fixtures/make_muon_fixture.py.
TEST(Optimizer, MuonIsPyTorchsForMatricesAndAdamWForTheRest) {
  Graph graph;
  for (const auto& [name, in, out] :
       {std::tuple{"wide", 36, 20}, {"tall", 17, 40}, {"square", 24, 24}, {"wte", 5, 3}}) {
    const int input = graph.add_input(std::string(name) + "_input", {in});
    graph.add(name, affine_layer(out), {input});
  }
  const ParameterArena arena(graph, Device{});
  const Memory gradients = arena.make_parallel();
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  Optimizer optimizer(read_optimizer(config("{muon: {lr: 0.02, weight_decay: 0.1, adamw_lr: 0.1}}")), arena);
  const auto draw = [](const std::string& name, int64_t i) {
    return static_cast<float>(2.0 * (static_cast<double>(fixture_bits(name, i)) * 0x1p-24 - 0.5));
  };
  const auto name_of = [](const Segment& s) { return s.name.substr(0, s.name.find('.')); };
  for (const Segment& s : arena.segments())
    for (int64_t i = 0; i < s.n_elements(); ++i) arena.weights()[s.offset + i] = draw(name_of(s), i);
  for (int step = 0; step < 5; ++step) {
    for (const Segment& s : arena.segments())
      for (int64_t i = 0; i < s.n_elements(); ++i)  // sums over four samples
        gradients.as<float>()[s.offset + i] =
            4 * draw(name_of(s) + "." + std::to_string(s.shape.rank() == 2 ? step : 0), i);
    optimizer.update(*stream, gradients.as<float>(), 0.02, 0.25, step);
  }
  for (const Segment& s : arena.segments()) {
    if (name_of(s) == "wte" || s.shape.rank() == 1) continue;
    const std::vector<float> expected = fixture_values("muon.safetensors", name_of(s));
    for (int64_t i = 0; i < s.n_elements(); ++i)
      ASSERT_NEAR(arena.weights()[s.offset + i], expected[static_cast<size_t>(i)], 2e-5)
          << s.name << " " << i;
  }
  // A bias whose gradient stays the same moves by AdamW's rate in each step.
  for (const Segment& s : arena.segments()) {
    if (s.name != "wide.bias") continue;
    for (int64_t i = 0; i < s.n_elements(); ++i) {
      const float sign = draw("wide.0", i) > 0 ? 1.0f : -1.0f;
      EXPECT_NEAR(arena.weights()[s.offset + i], draw("wide", i) - 0.5f * sign, 1e-3);
    }
  }
}

TEST(Optimizer, MuonIsNotSharedElementByElement) {
  Graph graph;
  graph.add_input("input", {5});
  graph.append(affine_layer(7), "a");
  const ParameterArena arena(graph, Device{});
  const OptimizerSpec spec = read_optimizer(config("muon"));
  EXPECT_THROW(Optimizer(spec, arena, {{0, 16}}), Error);
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
