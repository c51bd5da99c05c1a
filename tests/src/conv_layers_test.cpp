// Convolution layers as job files see them: shapes, parameters, words for the padding, errors.
#include "src/network/layers/layers.h"
#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

/// The one layer of a network, given as a job file would.
Vertex layer_of(const std::string& input, const std::string& layer) {
  return graph_from("{input: " + input + ", layers: [" + layer + "]}").vertex(1);
}

TEST(ConvLayers, WordsForThePaddingGiveTheirShapes) {
  const auto shape = [](const std::string& padding) {
    return layer_of("[3, 9, 8]",
                    "{conv: {channels: 4, kernel: [3, 4], dilation: [2, 1], padding: " + padding + "}}")
        .shape;
  };
  EXPECT_EQ(shape("valid"), (Shape{4, 5, 5}));
  EXPECT_EQ(shape("same"), (Shape{4, 9, 8}));
  EXPECT_EQ(shape("full"), (Shape{4, 13, 11}));
  EXPECT_EQ(shape("[1, 0]"), (Shape{4, 7, 5}));
  EXPECT_EQ(shape("[1, 0, 2, 3]"), (Shape{4, 6, 10}));
  EXPECT_EQ(layer_of("[3, 9]", "{conv1d: {channels: 4, kernel: 4, padding: same}}").shape, (Shape{4, 9}));
  EXPECT_EQ(layer_of("[3, 9]", "{conv1d: {channels: 4, kernel: 4, padding: [0, 3]}}").shape, (Shape{4, 9}));
  expect_error([] { layer_of("[3, 9, 9]", "{conv: {channels: 4, stride: 2, padding: same}}"); },
               {"padding", "'same' needs stride 1", "numbers"});
  expect_error([] { layer_of("[3, 9, 9]", "{conv: {channels: 4, padding: wide}}"); }, {"padding", "valid"});
}

TEST(ConvLayers, PaddingModesHaveTheirLimits) {
  const auto shape = [](const std::string& mode, const std::string& padding) {
    return layer_of("[3, 4, 8]",
                    "{conv: {channels: 2, padding: " + padding + ", padding_mode: " + mode + "}}")
        .shape;
  };
  EXPECT_EQ(shape("zeros", "9"), (Shape{2, 20, 24}));
  EXPECT_EQ(shape("reflect", "[3, 7]"), (Shape{2, 8, 20}));
  EXPECT_EQ(shape("circular", "[4, 8]"), (Shape{2, 10, 22}));
  EXPECT_EQ(shape("replicate", "9"), (Shape{2, 20, 24}));
  EXPECT_EQ(shape("replicate", "same"), (Shape{2, 4, 8}));
  expect_error([&] { shape("reflect", "4"); },
               {"reflect can add at most 3 pixels to a height of 4, not 4", "replicate"});
  expect_error([&] { shape("circular", "[0, 0, 0, 9]"); }, {"circular", "at most 8", "width of 8, not 9"});
  expect_error([&] { shape("wrap", "1"); }, {"padding_mode", "zeros, reflect, replicate, circular"});
  expect_error([] { layer_of("[3, 9]", "{conv1d: {channels: 4, padding: 9, padding_mode: reflect}}"); },
               {"at most 8"});
  expect_error([] { layer_of("[3, 9, 9]", "{local_conv: {channels: 4, padding_mode: reflect}}"); },
               {"padding_mode"});
  expect_error([] { conv_transpose2d_layer({{.padding_mode = PaddingMode::kCircular}}); },
               {"conv_transpose", "zeros only"});
}

TEST(ConvLayers, ParametersAreCanonical) {
  const auto specs = [](const std::vector<int64_t>& extents, const std::string& layer) {
    std::string text = "[";
    for (int64_t extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    const Shape shape{std::span(extents)};
    return layer_of(text + "]", layer).layer->parameters({&shape, 1});
  };
  const auto time = specs({6, 20}, "{conv1d: {channels: 8, kernel: 5, groups: 2}}");
  ASSERT_EQ(time.size(), 2u);
  EXPECT_EQ(time[0].shape, (Shape{8, 3, 5}));
  EXPECT_EQ(time[0].fan_in, 15);
  EXPECT_EQ(time[1].shape, (Shape{8}));
  const auto turned =
      specs({6, 5, 5}, "{conv_transpose: {channels: 8, kernel: [3, 2], groups: 2, bias: false}}");
  ASSERT_EQ(turned.size(), 1u);
  EXPECT_EQ(turned[0].shape, (Shape{6, 4, 3, 2}));
  EXPECT_EQ(turned[0].fan_in, 24);
  EXPECT_EQ(turned[0].fan_out, 18);
}

TEST(ConvLayers, LocalWeightsAreThoseOfEveryPlace) {
  const Vertex vertex = layer_of("[2, 5, 4]", "{local_conv: {channels: 3, kernel: [3, 2]}}");
  EXPECT_EQ(vertex.shape, (Shape{3, 3, 3}));
  const Shape src{2, 5, 4};
  const auto specs = vertex.layer->parameters({&src, 1});
  EXPECT_EQ(specs[0].shape, (Shape{9, 3, 12}));
  EXPECT_EQ(specs[1].shape, (Shape{3, 3, 3}));
  expect_error([] { layer_of("[2, 5, 4]", "{local_conv: {channels: 4, groups: 2}}"); },
               {"groups", "local_conv"});
}

TEST(ConvLayers, CountTheirWork) {
  const auto work = [](const std::string& input, const std::string& layer) {
    return graph_from("{input: " + input + ", layers: [" + layer + "]}").multiply_adds();
  };
  EXPECT_EQ(work("[6, 20]", "{conv1d: {channels: 8, kernel: 5, groups: 2}}"), 8 * 16 * 3 * 5);
  EXPECT_EQ(work("[6, 5, 5]", "{conv_transpose: {channels: 8, kernel: 3, stride: 2}}"), 6 * 25 * 8 * 9);
}

TEST(ConvLayers, RefuseWhatDoesNotFit) {
  expect_error([] { layer_of("[3, 9, 9]", "{conv1d: {channels: 4}}"); }, {"sequence (C, T)", "reshape"});
  expect_error([] { layer_of("[3, 9]", "{conv1d: {channels: 4, kernel: 10}}"); }, {"kernel of extent 10"});
  expect_error([] { layer_of("[3, 9]", "{conv_transpose: {channels: 4}}"); }, {"image (C, H, W)"});
  expect_error([] { layer_of("[3, 9, 9]", "{conv_transpose: {channels: 4, output_padding: 1}}"); },
               {"output_padding", "stride - 1"});
  expect_error([] { layer_of("[3, 1, 1]", "{conv_transpose: {channels: 4, kernel: 2, padding: 1}}"); },
               {"padding cuts"});
}

}  // namespace
}  // namespace lockstep
