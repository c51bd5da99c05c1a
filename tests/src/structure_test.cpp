// Layers of structure, arithmetic and pooling: worked examples of courses, shapes, and what they refuse.
#include <cmath>

#include "src/network/layers/layers.h"
#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

/// 2 log(2w + 3)² - 1 as a graph whose only weight is w; at w = 1 its derivative is 8 log(5) / 5.
TEST(Structure, DerivativeOfTheChainRulesExample) {
  const Graph graph = graph_from(
      "{input: [1], layers: [{affine: {features: 1, bias: false}}, {scale: 2}, {shift: 3}, log, {power: 2}, "
      "{scale: 2}, {shift: -1}]}");
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 1);
  arena->weights()[arena->segments()[0].offset] = 1;
  const LossSpec loss = loss_from("l2");  // ½ (x - t)²: with t = x - 1 its derivative is that of x
  Batch batch = random_batch(graph, loss, 2, 1, 1);
  batch.input.as<float>()[0] = 1;
  Plan plan(graph, *arena, loss, plan_options(2));
  const float value = run(plan, *arena, batch).output[0];
  EXPECT_NEAR(value, 2 * std::log(5.0) * std::log(5.0) - 1, 1e-5);
  batch.target.as<float>()[0] = value - 1;
  const Outcome outcome = run(plan, *arena, batch);
  EXPECT_NEAR(outcome.gradients[arena->segments()[0].offset], 8 * std::log(5.0) / 5, 1e-5);  // 2.575
}

Shape shape_of(const std::shared_ptr<const Layer>& layer, const std::vector<Shape>& src) {
  return layer->infer(src);
}

TEST(Structure, Shapes) {
  EXPECT_EQ(shape_of(add_layer(), {{4, 3}, {4, 3}, {4, 3}}), (Shape{4, 3}));
  EXPECT_EQ(shape_of(concat_layer(), {{4, 3}, {1, 3}, {2, 3}}), (Shape{7, 3}));
  EXPECT_EQ(shape_of(concat_layer(-1), {{4, 3}, {4, 1}}), (Shape{4, 4}));
  EXPECT_EQ(shape_of(slice_layer(1, 1, 3), {{4, 3}}), (Shape{4, 2}));
  EXPECT_EQ(shape_of(slice_layer(0, -2), {{4, 3}}), (Shape{2, 3}));
  EXPECT_EQ(shape_of(slice_layer(0, 1, -1), {{4, 3}}), (Shape{2, 3}));
  EXPECT_EQ(shape_of(reshape_layer({2, -1, 3}), {{4, 3}}), (Shape{2, 2, 3}));
  EXPECT_EQ(shape_of(permute_layer({2, 0, 1}), {{4, 3, 5}}), (Shape{5, 4, 3}));
  EXPECT_EQ(shape_of(arithmetic_layer(Arithmetic::kMultiply), {{4, 3, 5}, {4, 1, 1}}), (Shape{4, 3, 5}));
  EXPECT_EQ(shape_of(map_layer(Map::kExp), {{4, 3}}), (Shape{4, 3}));
}

TEST(Structure, ShapesOfPooling) {
  // GoogLeNet's first pools, in the shapes of torchvision.
  EXPECT_EQ(shape_of(pool2d_layer({.kernel = {3, 3}, .ceil = true}), {{64, 112, 112}}), (Shape{64, 56, 56}));
  EXPECT_EQ(shape_of(pool2d_layer({.kernel = {3, 3}, .ceil = true}), {{480, 28, 28}}), (Shape{480, 14, 14}));
  EXPECT_EQ(shape_of(pool2d_layer({.kernel = {3, 3}}), {{64, 112, 112}}), (Shape{64, 55, 55}));
  EXPECT_EQ(shape_of(adaptive_average_pool_layer(), {{512, 7, 7}}), (Shape{512, 1, 1}));
  EXPECT_EQ(shape_of(adaptive_average_pool_layer({6, 5}), {{256, 13, 13}}), (Shape{256, 6, 5}));
  EXPECT_EQ(shape_of(adaptive_average_pool_layer(), {{12, 40}}), (Shape{12, 1}));
  EXPECT_EQ(shape_of(pool1d_layer({.kernel = {9, 3}, .stride = {9, 2}}), {{12, 41}}), (Shape{12, 20}));
  const Graph graph = graph_from(
      "{input: [2, 20, 20], layers: [{max_pool: {kernel: 3, stride: 2, ceil: true}}, {average_pool: {kernel: "
      "3, stride: 1, "
      "padding: 1, count_padding: true}}, {weighted_pool: {weights: [[1, 2], [2, 4]], stride: 1}}, "
      "{adaptive_average_pool: 4}, {reshape: [2, 16]}, {max_pool1d: {kernel: 3, stride: 1, padding: [1, "
      "1]}}, "
      "{average_pool1d: 2}, global_average_pool, flatten]}");
  EXPECT_EQ(graph.vertex(1).shape, (Shape{2, 10, 10}));
  EXPECT_EQ(graph.vertex(3).shape, (Shape{2, 9, 9}));
  EXPECT_EQ(graph.vertex(7).shape, (Shape{2, 8}));
  EXPECT_EQ(graph.vertex(graph.output()).shape, Shape{2});
}

TEST(Structure, MisfitsNameTheRemedy) {
  const auto refuses = [](const std::shared_ptr<const Layer>& layer, const std::vector<Shape>& src,
                          const std::string& word) { expect_error([&] { layer->infer(src); }, {word}); };
  refuses(add_layer(), {{4, 3}, {4, 1}}, "broadcast_add");
  refuses(concat_layer(), {{4, 3}, {4, 2}}, "extents must be equal");
  refuses(concat_layer(2), {{4, 3}, {4, 3}}, "no axis 2");
  refuses(slice_layer(0, 3, 3), {{4, 3}}, "no part of axis 0");
  refuses(slice_layer(0, 0, 5), {{4, 3}}, "no part of axis 0");
  refuses(reshape_layer({5, -1}), {{4, 3}}, "product");
  refuses(reshape_layer({-1, -1}), {{4, 3}}, "at most one");
  refuses(permute_layer({0, 0}), {{4, 3}}, "every axis");
  refuses(arithmetic_layer(Arithmetic::kDivide), {{4, 3}, {4, 2}}, "broadcast");
}

TEST(Structure, JobFilesKnowTheLayers) {
  const Graph graph = graph_from(
      "{input: [6, 4], layers: [{permute: [1, 0]}, {slice: {axis: 1, begin: 1, end: 5}}, {reshape: [2, -1]}, "
      "absolute, "
      "{shift: 1}, square_root, exp, {power: {exponent: 0.5}}, flatten, {affine: 3}]}");
  EXPECT_EQ(graph.vertex(3).shape, (Shape{2, 8}));
  EXPECT_EQ(graph.vertex(graph.output()).shape, Shape{3});
}

}  // namespace
}  // namespace lockstep
