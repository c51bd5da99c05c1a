// Graph and ParameterArena: shapes, misfits by name, parameter counts that can be looked up,
// and the arena's order, alignment and borders.
#include "src/network/graph.h"

#include <algorithm>

#include "src/network/arena.h"
#include "src/network/layers/layers.h"
#include "src/network/model.h"
#include "tests/src/expect_error.h"

namespace lockstep {
namespace {

Graph model(const std::string& text) { return build_model(Config::from_text(text, "model"), {}); }

TEST(Graph, ParameterCountsOfKnownNetworks) {
  // LeCun et al. 1998 with full connections in C3, as every course counts it.
  EXPECT_EQ(model("{zoo: lenet5, input: [1, 32, 32], classes: 10}").n_parameters(), 61706);
  EXPECT_EQ(model("{zoo: lenet5, input: [1, 28, 28], classes: 10}").n_parameters(), 61706);
  EXPECT_EQ(model("{zoo: mlp, input: [784], hidden: [800], classes: 10}").n_parameters(), 636010);
  EXPECT_EQ(model("{zoo: mlp, input: [1, 28, 28], hidden: 800, classes: 10}").n_parameters(), 636010);
  EXPECT_EQ(model("{zoo: logistic, input: [784], classes: 10}").n_parameters(), 7850);
  EXPECT_EQ(model("{zoo: linear, input: [13]}").n_parameters(), 14);
  EXPECT_EQ(model("{zoo: linear, input: [13], outputs: 3}").n_parameters(), 42);
}

TEST(Graph, MultiplyAddsOfLeNet5) {
  const int64_t conv1 = 6 * 28 * 28 * 25, conv2 = 16 * 10 * 10 * 6 * 25;
  const int64_t affine = 400 * 120 + 120 * 84 + 84 * 10;
  EXPECT_EQ(model("{zoo: lenet5, input: [1, 32, 32], classes: 10}").multiply_adds(), conv1 + conv2 + affine);
}

TEST(Graph, ShapesOfLeNet5) {
  const Graph graph = model("{zoo: lenet5, input: [1, 28, 28], classes: 10}");
  const std::vector<std::pair<std::string, Shape>> expected = {
      {"input", {1, 28, 28}}, {"conv1", {6, 28, 28}},  {"tanh1", {6, 28, 28}},
      {"pool1", {6, 14, 14}}, {"conv2", {16, 10, 10}}, {"tanh2", {16, 10, 10}},
      {"pool2", {16, 5, 5}},  {"flatten1", {400}},     {"fc1", {120}},
      {"tanh3", {120}},       {"fc2", {84}},           {"tanh4", {84}},
      {"fc3", {10}}};
  ASSERT_EQ(graph.size(), static_cast<int>(expected.size()));
  for (int v = 0; v < graph.size(); ++v) {
    EXPECT_EQ(graph.vertex(v).name, expected[v].first);
    EXPECT_EQ(graph.vertex(v).shape, expected[v].second) << expected[v].first;
  }
}

TEST(Graph, SmallImagesFitLeNet5) {
  for (int64_t size : {8, 12, 16, 19, 20, 24, 28, 31, 32, 40}) {
    const Graph graph = model("{zoo: lenet5, input: [1, " + std::to_string(size) + ", " +
                              std::to_string(size) + "], classes: 10}");
    EXPECT_EQ(graph.vertex(graph.output()).shape, Shape{10}) << size;
  }
}

TEST(Graph, MisfitsNameTheTwoLayers) {
  Graph graph;
  graph.add_input("input", {1, 8, 8});
  graph.append(conv2d_layer({.channels = 4, .kernel = {3, 3}}), "edges");
  expect_error(
      [&] { Graph(graph).append(affine_layer(10), "scores"); },
      {"layer 'scores' (affine) after 'edges'", "needs a vector per sample, got shape (4, 6, 6)", "flatten"});
  expect_error(
      [&] {
        Graph(graph).append(conv2d_layer({.channels = 4, .kernel = {7, 7}}), "wide");
      },
      {"layer 'wide' (conv) after 'edges'", "extent 7", "height of 6"});
  expect_error([&] { Graph(graph).append(conv2d_layer({.channels = 4, .groups = 3}), "grouped"); },
               {"layer 'grouped' (conv) after 'edges'", "groups 3"});
  expect_error(
      [&] {
        Graph(graph).append(pool2d_layer({.kernel = {9, 2}}), "pool");
      },
      {"layer 'pool' (max_pool) after 'edges'", "window of 9 does not fit into the padded height of 6"});
  expect_error(
      [&] {
        Graph(graph).append(pool2d_layer({.kernel = {2, 2}, .padding = {2, 2, 2, 2}}), "pool");
      },
      {"'pool'", "padding 2 is not smaller than the window 2"});
  Graph flat = graph;
  flat.append(flatten_layer());
  expect_error(
      [&] { Graph(flat).append(conv2d_layer({.channels = 4}), "late"); },
      {"layer 'late' (conv) after 'flatten1'", "needs an image (C, H, W) per sample, got shape (144)"});
  expect_error([&] { Graph(flat).append(pool2d_layer({}), "late"); },
               {"layer 'late' (max_pool) after 'flatten1'", "needs an image"});
}

TEST(Graph, NamesAreUnique) {
  Graph graph;
  graph.add_input("input", {4});
  graph.append(affine_layer(3), "fc");
  expect_error([&] { graph.append(affine_layer(3), "fc"); }, {"layer 'fc'", "used twice"});
  EXPECT_EQ(graph.size(), 2);  // the failed layer has left nothing behind
  graph.append(affine_layer(3));
  graph.append(affine_layer(3));
  EXPECT_EQ(graph.vertex(2).name, "affine2");
  EXPECT_EQ(graph.vertex(3).name, "affine3");
}

// Arena -------------------------------------------------------------------------------------

TEST(ParameterArena, StandsInTheReverseOrderOfForward) {
  const Graph graph = model("{zoo: lenet5, input: [1, 28, 28], classes: 10}");
  const ParameterArena arena(graph, Device{});
  const std::vector<std::string> expected = {"fc3.weight",   "fc3.bias",  "fc2.weight",   "fc2.bias",
                                             "fc1.weight",   "fc1.bias",  "conv2.weight", "conv2.bias",
                                             "conv1.weight", "conv1.bias"};
  ASSERT_EQ(arena.segments().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(arena.segments()[i].name, expected[i]);
  EXPECT_EQ(arena.segments()[0].shape, (Shape{10, 84}));
  EXPECT_EQ(arena.segments()[8].shape, (Shape{6, 1, 5, 5}));
  EXPECT_EQ(arena.n_parameters(), 61706);
  EXPECT_EQ(arena.n_parameters(), graph.n_parameters());
}

TEST(ParameterArena, SegmentsAreAlignedAdjacentAndZero) {
  const ParameterArena arena(model("{zoo: lenet5, input: [1, 28, 28], classes: 10}"), Device{});
  int64_t next = 0;
  for (const Segment& segment : arena.segments()) {
    EXPECT_EQ(segment.offset, next) << segment.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.weights() + segment.offset) % 256, 0u) << segment.name;
    next = segment.offset + (segment.n_elements() + 63) / 64 * 64;
  }
  EXPECT_EQ(arena.n_elements(), next);
  EXPECT_TRUE(std::all_of(arena.weights(), arena.weights() + next, [](float w) { return w == 0; }));
  const Memory parallel = arena.make_parallel();
  EXPECT_EQ(parallel.n_bytes(), next * 4);
  EXPECT_TRUE(std::all_of(parallel.as<float>(), parallel.as<float>() + next, [](float w) { return w == 0; }));
}

TEST(ParameterArena, BordersAreTheEndsOfSegments) {
  const ParameterArena arena(model("{zoo: mlp, input: [5], hidden: [65], classes: 3}"), Device{});
  // fc2.weight 3x65 -> 256, fc2.bias 3 -> 64, fc1.weight 65x5 -> 384, fc1.bias 65 -> 128
  EXPECT_EQ(arena.borders(), (std::vector<int64_t>{0, 256, 320, 704, 832}));
  EXPECT_EQ(arena.n_elements(), 832);
  Graph none;
  none.add_input("input", {3});
  none.append(activation_layer(Activation::kRelu));
  EXPECT_EQ(ParameterArena(none, Device{}).borders(), (std::vector<int64_t>{0, 0}));
}

TEST(ParameterArena, FindsTheParametersOfAVertexInTheLayersOrder) {
  const Graph graph = model("{zoo: mlp, input: [5], hidden: [7], classes: 3}");
  const ParameterArena arena(graph, Device{});
  int n_found = 0;
  for (int v = 0; v < graph.size(); ++v) {
    const std::vector<const Segment*> found = arena.of_vertex(graph, v);
    n_found += static_cast<int>(found.size());
    if (found.empty()) continue;
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0]->name, graph.vertex(v).name + ".weight");
    EXPECT_EQ(found[1]->name, graph.vertex(v).name + ".bias");
  }
  EXPECT_EQ(n_found, 4);
}

}  // namespace
}  // namespace lockstep
