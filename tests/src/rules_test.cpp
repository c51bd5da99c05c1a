// Every optimizer over two hundred steps, element by element against the library whose form it is
// (tests/fixtures/make_rules_fixture.py); what is said of forms, of sharing and of regularisation, by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/error.h"
#include "src/network/layers/layers.h"
#include "src/update/optimizer.h"
#include "tests/src/sequence_fixture.h"

namespace lockstep {
namespace {

constexpr int kSteps = 200;

Config config(const std::string& text) { return Config::from_text("x: " + text, "job.yaml").at("x"); }

float draw(const std::string& name, int64_t i) {
  return static_cast<float>(2.0 * (static_cast<double>(fixture_bits(name, i)) * 0x1p-24 - 0.5));
}

/// A layer (7, 5) with its weights, updated by own ranges.
struct Trained {
  explicit Trained(const std::string& text, std::vector<ElementRange> own = {})
      : graph(make_graph()),
        arena(graph, Device{}),
        gradients(arena.make_parallel()),
        spec(read_optimizer(config(text))),
        optimizer(own.empty() ? Optimizer(spec, arena) : Optimizer(spec, arena, std::move(own))) {
    for (const Segment& s : arena.segments())
      for (int64_t i = 0; i < s.n_elements(); ++i) arena.weights()[s.offset + i] = draw(name_of(s), i);
  }
  static Graph make_graph() {
    Graph graph;
    graph.add_input("input", {5});
    graph.append(affine_layer(7), "a");
    return graph;
  }
  static std::string name_of(const Segment& s) { return s.name.substr(s.name.find('.') + 1); }

  /// The fixture's steps [begin, end), as sums over four samples.
  void run(int begin, int end, double lr_scale = 1) {
    for (int step = begin; step < end; ++step) {
      for (const Segment& s : arena.segments())
        for (int64_t i = 0; i < s.n_elements(); ++i)
          gradients.as<float>()[s.offset + i] = 4 * draw(name_of(s) + "." + std::to_string(step), i);
      optimizer.update(*stream, gradients.as<float>(), spec.lr * lr_scale, 0.25, step);
    }
  }
  std::map<std::string, std::vector<float>> values(const float* base) const {
    std::map<std::string, std::vector<float>> result;
    for (const Segment& s : arena.segments())
      result[name_of(s)] = {base + s.offset, base + s.offset + s.n_elements()};
    return result;
  }
  std::map<std::string, std::vector<float>> weights() const { return values(arena.weights()); }

  Graph graph;
  ParameterArena arena;
  Memory gradients;
  OptimizerSpec spec;
  Optimizer optimizer;
  std::unique_ptr<Stream> stream = make_stream(Device{});
};

TEST(Rules, AreTheLibrariesElementByElement) {
  int n_cases = 0;
  double worst = 0;
  const SafetensorsFile file = fixture_file("rules.safetensors");
  for (const SafetensorsEntry& entry : file.entries()) {
    if (!entry.name.ends_with("} weight")) continue;
    ++n_cases;
    const std::string job = entry.name.substr(0, entry.name.size() - 7);
    Trained trained(job);
    trained.run(0, kSteps);
    auto actual = trained.weights();
    if (trained.spec.rule->is_schedule_free())
      for (const auto& [name, averages] : trained.values(trained.optimizer.slots().back().memory.as<float>()))
        actual[name + ".average"] = averages;
    double of_case = 0;
    for (const auto& [name, values] : actual) {
      const std::vector<float> expected = fixture_values("rules.safetensors", job + " " + name);
      ASSERT_EQ(values.size(), expected.size());
      double sum = 0;
      for (const float e : expected) sum += static_cast<double>(e) * static_cast<double>(e);
      const double rms = std::sqrt(sum / static_cast<double>(expected.size()));
      for (size_t i = 0; i < values.size(); ++i) {
        const double size = std::max(rms, std::abs(static_cast<double>(expected[i])));
        of_case = std::max(of_case, std::abs(static_cast<double>(values[i] - expected[i])) / size);
      }
    }
    // Weights are rounded in each of the steps. Lion's steps are of one size, and are rounded to one side as
    // long as a weight stays between two powers of two.
    EXPECT_LT(of_case, trained.spec.name == "lion" ? kSteps * 0x1p-25 : 1.2e-6) << job;
    std::printf("%.2e %s\n", of_case, job.c_str());
    worst = std::max(worst, of_case);
  }
  EXPECT_GE(n_cases, 26);
  RecordProperty("worst", std::to_string(worst));
  std::printf("%d cases, the worst element is %.2e off\n", n_cases, worst);
}

const char* const kByElement[] = {"{sgd: {lr: 0.01, momentum: 0.9, dampening: 0.5}}",
                                  "{sgd: {lr: 0.01, momentum: 0.9, form: heavy_ball}}",
                                  "{sgd: {lr: 0.01, weight_decay: 0.1, decoupled: true}}",
                                  "{adagrad: {initial: 0.1}}",
                                  "rmsprop",
                                  "{rmsprop: {centered: true, momentum: 0.9}}",
                                  "adadelta",
                                  "nadam",
                                  "{adam: {amsgrad: true}}",
                                  "adamax",
                                  "radam",
                                  "lion",
                                  "{schedule_free: {warmup_steps: 30}}"};

// A rank's part of shared state is as long as its ranges, and the bits are those of all of it.
TEST(Rules, SharedStateHasTheBitsOfOneOwner) {
  for (const char* text : kByElement) {
    Trained whole(text), first(text, {{0, 16}}), second(text, {{16, whole.arena.n_elements()}});
    for (Trained* trained : {&whole, &first, &second}) trained->run(0, 20);
    for (int64_t i = 0; i < whole.arena.n_elements(); ++i) {
      const Trained& owner = i < 16 ? first : second;
      ASSERT_EQ(whole.arena.weights()[i], owner.arena.weights()[i]) << text << " " << i;
    }
  }
}

// States and weights are all that a later run needs.
TEST(Rules, GoOnFromTheirStates) {
  std::vector<std::string> all(std::begin(kByElement), std::end(kByElement));
  all.insert(all.end(),
             {"{lamb: {weight_decay: 0.1}}", "{lars: {lr: 1}}", "{lars: {lr: 1, nesterov: true}}"});
  for (const std::string& text : all) {
    Trained straight(text), before(text), after(text);
    straight.run(0, 60);
    before.run(0, 30);
    std::copy_n(before.arena.weights(), before.arena.n_elements(), after.arena.weights());
    for (size_t s = 0; s < before.optimizer.slots().size(); ++s)
      std::copy_n(before.optimizer.slots()[s].memory.as<float>(), before.arena.n_elements(),
                  after.optimizer.slots()[s].memory.as<float>());
    after.run(30, 60);
    EXPECT_EQ(straight.weights(), after.weights()) << text;
    EXPECT_NE(before.weights(), after.weights()) << text;
  }
}

TEST(Rules, WholeParametersAreNotShared) {
  for (const char* text : {"lamb", "{lars: {lr: 1}}", "{sgd: {lr: 1, max_norm: 1}}"}) {
    try {
      Trained(text, {{0, 16}});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), "batch.shard_optimizer");
      EXPECT_NE(error.reason().find("looks at whole parameters"), std::string::npos) << error.what();
    }
  }
}

// The course's two forms of momentum: v = momentum v - lr g, w += v; v = momentum v + lr g, w -= v. They are
// one another's negative, and PyTorch's while the rate stays.
TEST(Rules, TheHeavyBallKeepsTheRatesOfItsSteps) {
  Trained ball("{sgd: {lr: 0.01, momentum: 0.9, form: heavy_ball}}"),
      torch("{sgd: {lr: 0.01, momentum: 0.9}}");
  const Segment& s = ball.arena.segments()[0];
  double w = draw("weight", 3), v = 0, negative_w = w, negative_v = 0;
  for (int step = 0; step < 40; ++step) {
    const double lr = step < 20 ? 0.01 : 0.001, g = draw("weight." + std::to_string(step), 3);
    v = 0.9 * v - lr * g;
    w += v;
    negative_v = 0.9 * negative_v + lr * g;
    negative_w -= negative_v;
    ball.run(step, step + 1, lr / 0.01);
    torch.run(step, step + 1, lr / 0.01);
    EXPECT_EQ(w, negative_w);
    EXPECT_NEAR(ball.arena.weights()[s.offset + 3], w, 1e-6);
    if (step < 20) {
      EXPECT_NEAR(ball.arena.weights()[s.offset + 3], torch.arena.weights()[s.offset + 3], 1e-6);
    }
  }
  EXPECT_GT(std::abs(ball.arena.weights()[s.offset + 3] - torch.arena.weights()[s.offset + 3]), 1e-4);
}

TEST(Rules, RegularisationByHand) {
  // Gradients 0: what is left is regularisation. The bias has none, unless decay_biases asks for it.
  const auto after = [](const std::string& text, const std::string& name, int64_t i) {
    Trained trained(text);
    std::fill_n(trained.gradients.as<float>(), trained.arena.n_elements(), 0.0f);
    trained.optimizer.update(*trained.stream, trained.gradients.as<float>(), 0.5, 0.25, 0);
    return trained.weights().at(name)[static_cast<size_t>(i)];
  };
  const float w = draw("weight", 2), b = draw("bias", 2), sign = w > 0 ? 1.0f : -1.0f;
  EXPECT_FLOAT_EQ(after("{sgd: {lr: 1, l1: 0.25}}", "weight", 2), w - 0.125f * sign);
  EXPECT_EQ(after("{sgd: {lr: 1, l1: 0.25}}", "bias", 2), b);
  EXPECT_NE(after("{sgd: {lr: 1, l1: 0.25, decay_biases: true}}", "bias", 2), b);
  EXPECT_FLOAT_EQ(after("{sgd: {lr: 1, weight_decay: 0.5, decoupled: true}}", "weight", 2), w * 0.75f);
  EXPECT_FLOAT_EQ(after("{adam: {l1: 0.25}}", "weight", 2), w - 0.5f * sign);
  EXPECT_FLOAT_EQ(after("{lion: {weight_decay: 0.5}}", "weight", 2), w * 0.75f);
  EXPECT_EQ(after("{sgd: {lr: 1, l1: 0.25, groups: [{match: weight, frozen: true}]}}", "weight", 2), w);

  Trained limited("{sgd: {lr: 1, max_norm: 0.5}}");
  limited.run(0, 5);
  const std::vector<float> weights = limited.weights().at("weight"), biases = limited.weights().at("bias");
  for (size_t row = 0; row < 7; ++row) {
    double sum = 0;
    for (size_t i = 0; i < 5; ++i) sum += std::pow(static_cast<double>(weights[row * 5 + i]), 2);
    EXPECT_LT(std::sqrt(sum), 0.5 + 1e-6);
  }
  double of_bias = 0;
  for (const float value : biases) of_bias += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_GT(std::sqrt(of_bias), 0.5);
}

// Frozen for two epochs of five steps to the bit, then as if the run had begun there: Adam's first step is
// its rate.
TEST(Rules, ThawAtAnEpoch) {
  for (const std::string name : {"adam", "lamb", "radam", "sgd"}) {
    const std::string options = name == "sgd" ? "lr: 0.1, momentum: 0.9, dampening: 0.5, " : "";
    Trained thawing("{" + name + ": {" + options + "groups: [{match: weight, frozen_until_epoch: 2}]}}");
    Trained later("{" + name + ": {" + options + "groups: []}}");
    const std::vector<float> start = thawing.weights().at("weight");
    for (int step = 0; step < 15; ++step) {
      for (Trained* trained : {&thawing, &later})
        for (const Segment& s : trained->arena.segments())
          for (int64_t i = 0; i < s.n_elements(); ++i)
            trained->gradients.as<float>()[s.offset + i] =
                draw(Trained::name_of(s) + "." + std::to_string(step), i);
      thawing.optimizer.update(*thawing.stream, thawing.gradients.as<float>(), 0.01, 1, step, 5);
      if (step >= 10)
        later.optimizer.update(*later.stream, later.gradients.as<float>(), 0.01, 1, step - 10, 5);
      EXPECT_EQ(thawing.optimizer.not_thawed(step, 5).size(), step < 10 ? 1U : 0U);
      if (step < 10) {
        ASSERT_EQ(thawing.weights().at("weight"), start) << name << " " << step;
      }
    }
    EXPECT_NE(thawing.weights().at("weight"), start);
    EXPECT_EQ(thawing.weights().at("weight"), later.weights().at("weight")) << name;
    EXPECT_NE(thawing.weights().at("bias"), later.weights().at("bias")) << name;
  }
}

TEST(Rules, LayersInFrontHaveSmallerRates) {
  Graph graph;
  graph.add_input("input", {4});
  for (const char* name : {"stem", "h.0.a", "h.0.b", "h.1.a", "head"}) graph.append(affine_layer(4), name);
  const ParameterArena arena(graph, Device{});
  const Memory gradients = arena.make_parallel();
  std::fill_n(gradients.as<float>(), arena.n_elements(), 1.0f);
  Optimizer optimizer(
      read_optimizer(config("{sgd: {lr: 1, layer_decay: 0.5, groups: [{match: stem, lr_factor: 4}]}}")),
      arena);
  optimizer.update(*make_stream(Device{}), gradients.as<float>(), 1, 1, 0);
  const std::map<std::string, float> expected = {
      {"stem", -0.5f}, {"h.0.a", -0.25f}, {"h.0.b", -0.25f}, {"h.1.a", -0.5f}, {"head", -1.0f}};
  int n = 0;
  for (const Segment& s : arena.segments())
    for (const auto& [name, value] : expected)
      if (s.name.starts_with(name + ".")) {
        ++n;
        EXPECT_EQ(arena.weights()[s.offset], value) << s.name;
      }
  EXPECT_EQ(n, 10);
}

TEST(Rules, RefuseWhatIsNoOption) {
  for (const char* text : {"{sgd: {lr: 1, momentum: 0.9, nesterov: true, dampening: 0.1}}",
                           "{sgd: {lr: 1, dampening: 0.1}}",
                           "{sgd: {lr: 1, form: heavy_ball}}",
                           "{sgd: {lr: 1, l1: -1}}",
                           "{sgd: {lr: 1, max_norm: 0}}",
                           "{sgd: {lr: 1, layer_decay: 0}}",
                           "{sgd: {lr: 1, groups: [{match: a, frozen: true, frozen_until_epoch: 1}]}}",
                           "{schedule_free: {groups: [{match: a, frozen_until_epoch: 1}]}}",
                           "{schedule_free: {max_norm: 1}}",
                           "{adagrad: {initial: -1}}",
                           "{rmsprop: {rho: 1}}",
                           "{rmsprop: {epsilon: 0}}",
                           "{adadelta: {rho: -0.1}}",
                           "{nadam: {momentum_decay: -1}}",
                           "{radam: {beta2: 1}}",
                           "{lion: {beta1: 1}}",
                           "{lamb: {epsilon: 0}}",
                           "{lars: {lr: 1, trust: 0}}",
                           "{lars: {lr: 1, norms: apart}}",
                           "lars",
                           "{schedule_free: {warmup_steps: -1}}",
                           "{lion: {epsilon: 1}}"})
    EXPECT_THROW(read_optimizer(config(text)), Error) << text;
}

// After which steps the average takes the weights in, of four steps an epoch.
TEST(Rules, EqualWeightsOfAnAverage) {
  const auto average = read_weight_average(
      Config::from_text("average: {swa: {from_epoch: 2, every_epochs: 0.5}}", "job.yaml"));
  std::vector<double> rates;
  for (int64_t step = 0; step < 14; ++step) rates.push_back(average->rate(step, 4));
  EXPECT_EQ(rates, (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0.5, 0, 1.0 / 3, 0, 0.25}));

  Trained trained("{sgd: {lr: 0.1}}");
  trained.spec.average = average;
  Optimizer optimizer(trained.spec, trained.arena);
  const float* const averages = optimizer.slots().back().memory.as<float>();
  double sum = 0;
  for (int64_t step = 0; step < 14; ++step) {
    trained.arena.weights()[1] = draw("walk", step);
    optimizer.average(*trained.stream, step, 4);
    if (step < 8) {
      EXPECT_EQ(averages[1], trained.arena.weights()[1]);
    }
    if (step >= 7 && step % 2 == 1) sum += static_cast<double>(draw("walk", step));
  }
  EXPECT_NEAR(averages[1], sum / 4, 1e-6);
}

}  // namespace
}  // namespace lockstep
