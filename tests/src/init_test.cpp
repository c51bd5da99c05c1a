// Initial weights by their moments, and what they depend on: seed and name, not the place.
#include "src/network/init.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/error.h"

#include "src/network/layers/layers.h"

namespace lockstep {
namespace {

Config config(const std::string& text) { return Config::from_text("x: " + text, "job.yaml").at("x"); }

struct Moments {
  double mean = 0, deviation = 0, least = 1e30, most = -1e30;
};
Moments moments(const float* x, int64_t n) {
  Moments m;
  for (int64_t i = 0; i < n; ++i) m.mean += x[i] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    m.deviation += (x[i] - m.mean) * (x[i] - m.mean) / static_cast<double>(n);
    m.least = std::min<double>(m.least, x[i]);
    m.most = std::max<double>(m.most, x[i]);
  }
  m.deviation = std::sqrt(m.deviation);
  return m;
}

/// The same two layers with or without others around them, which move them in the arena.
Graph conv_and_affine(bool with_others = false) {
  Graph graph;
  graph.add_input("input", {16, 10, 10});
  if (with_others) graph.append(conv2d_layer({.channels = 16, .kernel = {1, 1}}), "before");
  graph.append(conv2d_layer({.channels = 32, .kernel = {3, 3}}), "conv");  // fan_in 144, fan_out 288
  graph.append(flatten_layer(), "flat");
  graph.append(affine_layer(40), "fc");  // fan_in 2048, fan_out 40
  if (with_others) graph.append(affine_layer(7), "after");
  return graph;
}

TEST(Init, MomentsOfEveryKind) {
  const double conv_in = 144, conv_out = 288, fc_in = 2048, fc_out = 40;
  const double uniform = 1 / std::sqrt(3.0);  // deviation of U(-1, 1)
  struct Case {
    const char* text;
    double conv, fc;              // deviations of the weights
    double conv_limit, fc_limit;  // 0: normal
    bool biases;
  };
  const Case cases[] = {
      {"zeros", 0, 0, 0, 0, false},
      {"{normal: {std: 0.3}}", 0.3, 0.3, 0, 0, false},
      {"normal", 0.01, 0.01, 0, 0, false},
      {"{uniform: 0.2}", 0.2 * uniform, 0.2 * uniform, 0.2, 0.2, false},
      {"glorot_uniform", std::sqrt(2 / (conv_in + conv_out)), std::sqrt(2 / (fc_in + fc_out)),
       std::sqrt(6 / (conv_in + conv_out)), std::sqrt(6 / (fc_in + fc_out)), false},
      {"glorot_normal", std::sqrt(2 / (conv_in + conv_out)), std::sqrt(2 / (fc_in + fc_out)), 0, 0, false},
      {"he_uniform", std::sqrt(2 / conv_in), std::sqrt(2 / fc_in), std::sqrt(6 / conv_in),
       std::sqrt(6 / fc_in), false},
      {"he_normal", std::sqrt(2 / conv_in), std::sqrt(2 / fc_in), 0, 0, false},
      {"lecun_uniform", uniform / std::sqrt(conv_in), uniform / std::sqrt(fc_in), 1 / std::sqrt(conv_in),
       1 / std::sqrt(fc_in), true},
  };
  for (const Case& c : cases) {
    const ParameterArena arena(conv_and_affine(), Device{});
    initialize(arena, read_init(config(c.text)), 11);
    for (const Segment& segment : arena.segments()) {
      const Moments m = moments(arena.weights() + segment.offset, segment.n_elements());
      const bool is_conv = segment.name.starts_with("conv");
      const double limit = is_conv ? c.conv_limit : c.fc_limit;
      const double expected = is_conv ? c.conv : c.fc;
      const std::string what = std::string(c.text) + " " + segment.name;
      if (segment.name.ends_with("bias")) {
        EXPECT_EQ(m.deviation > 0, c.biases) << what;
        EXPECT_LE(std::max(-m.least, m.most), c.biases ? limit : 0) << what;
        continue;
      }
      // 4,608 and 81,920 draws: four standard errors.
      const double error = 4 / std::sqrt(static_cast<double>(segment.n_elements()));
      EXPECT_NEAR(m.mean, 0, error * expected) << what;
      EXPECT_NEAR(m.deviation, expected, error * expected) << what;
      if (limit > 0) {
        EXPECT_LE(std::max(-m.least, m.most), limit * (1 + 1e-6)) << what;
        EXPECT_GE(std::min(-m.least, m.most), limit * 0.99) << what;
      } else if (expected > 0) {
        EXPECT_GE(std::min(-m.least, m.most), 3 * expected) << what;  // tails
      }
    }
  }
}

TEST(Init, ConstantFillsWeightsAndLeavesPaddingZero) {
  const ParameterArena arena(conv_and_affine(), Device{});
  initialize(arena, read_init(config("{constant: 0.5}")), 1);
  std::vector<float> expected(arena.n_elements(), 0.0f);
  for (const Segment& segment : arena.segments()) {
    if (segment.name.ends_with("weight"))
      std::fill_n(expected.begin() + segment.offset, segment.n_elements(), 0.5f);
  }
  EXPECT_EQ(std::memcmp(arena.weights(), expected.data(), expected.size() * sizeof(float)), 0);
}

std::map<std::string, std::vector<float>> by_name(const Graph& graph, uint64_t seed) {
  const ParameterArena arena(graph, Device{});
  initialize(arena, default_init("he_normal"), seed);
  std::map<std::string, std::vector<float>> values;
  for (const Segment& s : arena.segments())
    values[s.name] = {arena.weights() + s.offset, arena.weights() + s.offset + s.n_elements()};
  return values;
}

TEST(Init, DependsOnSeedAndNameNotOnThePlaceInTheArena) {
  const auto a = by_name(conv_and_affine(), 5), b = by_name(conv_and_affine(true), 5),
             other = by_name(conv_and_affine(), 6);
  for (const char* name : {"conv.weight", "fc.weight"}) {
    EXPECT_EQ(a.at(name), b.at(name)) << name;
    EXPECT_NE(a.at(name), other.at(name)) << name;
  }
  // Parameters of one shape but different names are drawn independently.
  Graph twins;
  twins.add_input("input", {64});
  twins.append(affine_layer(64), "a");
  twins.append(affine_layer(64), "b");
  const auto twin = by_name(twins, 5);
  double product = 0;
  for (size_t i = 0; i < twin.at("a.weight").size(); ++i)
    product += twin.at("a.weight")[i] * twin.at("b.weight")[i];
  const double correlation = product / (4096 * 2.0 / 64);
  EXPECT_LT(std::abs(correlation), 4.0 / 64);
}

TEST(Init, RightAngles) {
  Graph graph;
  graph.add_input("input", {6});
  graph.append(affine_layer(40), "tall");
  graph.append(affine_layer(17), "wide");
  graph.append(affine_layer(17), "square");
  const ParameterArena arena(graph, Device{});
  initialize(arena, read_init(config("{orthogonal: {gain: 2}}")), 3);
  int64_t n_products = 0;
  for (const Segment& s : arena.segments()) {
    const float* w = arena.weights() + s.offset;
    if (s.shape.rank() == 1) {
      for (int64_t i = 0; i < s.n_elements(); ++i) EXPECT_EQ(w[i], 0.0f);
      continue;
    }
    const int64_t rows = s.shape[0], columns = s.shape[1], n = std::min(rows, columns);
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b <= a; ++b, ++n_products) {
        double product = 0;
        for (int64_t i = 0; i < std::max(rows, columns); ++i)
          product += rows > columns ? double{w[i * columns + a]} * double{w[i * columns + b]}
                                    : double{w[a * columns + i]} * double{w[b * columns + i]};
        EXPECT_NEAR(product, a == b ? 4 : 0, 2e-6) << s.name << " " << a << " " << b;
      }
  }
  EXPECT_EQ(n_products, 6 * 7 / 2 + 2 * 17 * 18 / 2);
}

// The signs of R's diagonal are in Q: the first column is the first column drawn, at length 1.
TEST(Init, OrthogonalKeepsTheDrawsSigns) {
  Graph graph;
  graph.add_input("input", {3});
  graph.append(affine_layer(50), "fc");
  const ParameterArena drawn(graph, Device{}), made(graph, Device{});
  initialize(drawn, read_init(config("{normal: {std: 1}}")), 5);
  initialize(made, read_init(config("orthogonal")), 5);
  double square = 0;
  for (int64_t i = 0; i < 50; ++i) square += std::pow(static_cast<double>(drawn.weights()[i * 3]), 2);
  for (int64_t i = 0; i < 50; ++i)
    EXPECT_NEAR(made.weights()[i * 3], drawn.weights()[i * 3] / std::sqrt(square), 1e-6);
}

TEST(Init, TruncatedAtTwoDeviations) {
  const Graph graph = conv_and_affine();
  const auto fc = [&](const std::string& text) {
    const ParameterArena arena(graph, Device{});
    initialize(arena, read_init(config(text)), 11);
    for (const Segment& s : arena.segments())
      if (s.name == "fc.weight") return moments(arena.weights() + s.offset, s.n_elements());
    return Moments();
  };
  const Moments normal = fc("{truncated_normal: {std: 0.5}}");
  EXPECT_LE(normal.most, 1);
  EXPECT_GE(normal.least, -1);
  EXPECT_GT(normal.most, 0.99);
  EXPECT_NEAR(normal.deviation, 0.5 * 0.879626, 2e-3);
  const double he = std::sqrt(2 / 2048.0);
  const Moments widened = fc("{he_normal: {truncated: true}}");
  EXPECT_NEAR(widened.deviation, he, 0.005 * he);
  EXPECT_LE(widened.most, 2 * he / 0.879625);
  EXPECT_GT(fc("he_normal").most, 3 * he);
}

TEST(Init, GroupsHaveOneOfTheirOwn) {
  const Graph graph = conv_and_affine();
  const auto weights = [&](const std::string& text) {
    const InitSpec init = read_init(config(text));
    check_init(init, graph);
    const ParameterArena arena(graph, Device{});
    initialize(arena, init, 11);
    std::map<std::string, std::vector<float>> values;
    for (const Segment& s : arena.segments())
      values[s.name] = {arena.weights() + s.offset, arena.weights() + s.offset + s.n_elements()};
    return values;
  };
  const auto plain = weights("he_normal");
  const auto grouped = weights(
      "{he_normal: {groups: [{match: fc.bias, init: {constant: 0.5}, biases: true},"
      " {match: ['^fc', zzz|fc], init: {constant: 0.25}}]}}");
  EXPECT_EQ(grouped.at("conv.weight"), plain.at("conv.weight"));
  EXPECT_EQ(grouped.at("conv.bias"), plain.at("conv.bias"));
  EXPECT_EQ(grouped.at("fc.weight"), std::vector<float>(grouped.at("fc.weight").size(), 0.25f));
  EXPECT_EQ(grouped.at("fc.bias"), std::vector<float>(40, 0.5f));
  for (const char* text :
       {"{he_normal: {groups: [{match: fv.weight, init: zeros}]}}", "{he_normal: {groups: [{init: zeros}]}}",
        "{he_normal: {groups: [{match: fc}]}}", "{he_normal: {groups: [{match: '(', init: zeros}]}}",
        "{he_normal: {groups: {match: fc, init: zeros}}}", "{orthogonal: {gain: 0}}"})
    EXPECT_THROW(weights(text), Error) << text;
}

}  // namespace
}  // namespace lockstep
