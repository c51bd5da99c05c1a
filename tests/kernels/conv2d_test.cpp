// Convolution against the naive float64 reference, finite differences and itself.
#include "kernels/conv2d.h"

#include <cmath>
#include <sstream>

#include "kernels/error.h"
#include "tests/reference/activation.h"
#include "tests/reference/conv2d.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// float32 sums of up to some thousand products, relative to the rms of the result.
constexpr double kTolerance = 1e-5;
// dst and diff_src are rounded to 8 bits (a half unit is 2^-9); the derivative of tanh and sigmoid is
// taken from a rounded dst, and masked diff_dst may be rounded once more before it is summed.
constexpr double kNarrowTolerance = 0.02;

struct Case {
  std::string name;
  Conv2dDesc desc;
};

Conv2dDesc conv(Shape src, int64_t out, std::array<int64_t, 2> kernel, Conv2dDesc rest = {}) {
  rest.src = {src};
  rest.out_channels = out;
  rest.kernel = kernel;
  return rest;
}

template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string name, const Conv2dDesc& desc) {
    cases.push_back({std::move(name), desc});
  };
  const Activation all[] = {Activation::kNone, Activation::kRelu, Activation::kRelu6, Activation::kTanh,
                            Activation::kSigmoid};

  // Channels below, at and above the blocks of 8 and 16; batches below, at and above 16.
  for (int64_t n : {1, 5, 16, 19, 33})
    for (int64_t c : {1, 3, 6, 16, 21})
      for (int64_t k : {1, 6, 16, 18}) add(text("n", n, "c", c, "k", k), conv({n, c, 7, 6}, k, {3, 3}));
  // Every option alone and together, on few and on many channels, with every activation.
  for (Activation a : all)
    for (bool bias : {false, true})
      for (auto [c, k] : {std::pair{1, 6}, {6, 16}, {20, 34}}) {
        const std::string tail = text("_c", c, "k", k, bias ? "_bias_" : "_", name_of(a));
        const Conv2dDesc base{.has_bias = bias, .activation = a};
        const auto with = [&](auto change) {
          Conv2dDesc desc = base;
          change(desc);
          return desc;
        };
        add("k5" + tail, conv({17, c, 9, 11}, k, {5, 5}, base));
        add("k1" + tail, conv({3, c, 5, 4}, k, {1, 1}, base));
        add("k2x3" + tail, conv({2, c, 6, 9}, k, {2, 3}, base));
        add("whole" + tail, conv({4, c, 5, 5}, k, {5, 5}, base));
        add("stride2" + tail, conv({3, c, 9, 8}, k, {3, 3}, with([](auto& d) { d.stride = {2, 2}; })));
        add("stride1x3" + tail, conv({3, c, 7, 10}, k, {3, 2}, with([](auto& d) { d.stride = {1, 3}; })));
        add("pad1" + tail, conv({3, c, 6, 7}, k, {3, 3}, with([](auto& d) { d.padding = {1, 1, 1, 1}; })));
        add("pad2" + tail, conv({18, c, 6, 7}, k, {5, 5}, with([](auto& d) { d.padding = {2, 2, 2, 2}; })));
        add("asymmetric" + tail, conv({3, c, 6, 5}, k, {3, 4}, with([](auto& d) {
                                        d.padding = {0, 1, 2, 1};
                                      })));
        add("dilation2" + tail, conv({2, c, 9, 10}, k, {3, 3}, with([](auto& d) { d.dilation = {2, 2}; })));
        add("everything" + tail, conv({3, c, 11, 13}, k, {3, 2}, with([](auto& d) {
                                        d.stride = {2, 3};
                                        d.dilation = {2, 3};
                                        d.padding = {2, 1, 0, 3};
                                      })));
      }
  // Groups: some, depthwise, depthwise with more outputs than inputs.
  for (Activation a : {Activation::kNone, Activation::kRelu}) {
    const std::string tail = text("_", name_of(a));
    for (auto [c, k, g] :
         {std::tuple{4, 6, 2}, {32, 32, 2}, {24, 36, 3}, {16, 16, 16}, {19, 19, 19}, {6, 12, 6}}) {
      const std::string shape = text(c, "x", k, "g", g, tail);
      add("groups" + shape, conv({3, c, 6, 7}, k, {3, 3}, {.groups = g, .activation = a}));
      add("groups_stride_pad" + shape,
          conv({2, c, 8, 7}, k, {3, 3},
               {.stride = {2, 2}, .padding = {1, 0, 1, 2}, .groups = g, .has_bias = false, .activation = a}));
    }
  }
  add("lenet1", conv({32, 1, 32, 32}, 6, {5, 5}, {.activation = Activation::kRelu}));
  add("lenet1_28",
      conv({32, 1, 28, 28}, 6, {5, 5}, {.padding = {2, 2, 2, 2}, .activation = Activation::kTanh}));
  add("lenet2", conv({35, 6, 14, 14}, 16, {5, 5}, {.activation = Activation::kRelu}));
  add("pixel", conv({1, 1, 1, 1}, 1, {1, 1}));
  return cases;
}

OpInputs make_inputs(const Conv2dDesc& d) {
  OpInputs in;
  in.src = {random_tensor(d.src.shape, 1)};
  const Shape weights{d.out_channels, d.src.shape[1] / d.groups, d.kernel[0], d.kernel[1]};
  const double scale =
      1 / std::sqrt(static_cast<double>(weights.n_elements()) / static_cast<double>(weights[0]));
  in.params = {random_tensor(weights, 2, -scale, scale)};
  if (d.has_bias) in.params.push_back(random_tensor(Shape{d.out_channels}, 3, 0.1, 0.5));
  return in;
}

reference::Conv2d make_reference(const Conv2dDesc& d, const OpInputs& in) {
  return {d, in.src[0].values, in.params[0].values, d.has_bias ? in.params[1].values : Values{}};
}

/// Random diff_dst, but zero where a sum is within rounding of relu's kink and may fall on the other
/// side; on GPUs narrow types may round it before the bias is added.
Values make_diff_dst(const Conv2dDesc& d, DType dtype, const Values& sums) {
  Values diff = random_values(static_cast<int64_t>(sums.size()), 4, -0.5, 1.0);
  const bool kinked = d.activation == Activation::kRelu || d.activation == Activation::kRelu6;
  const double near = dtype == DType::kFloat32 ? 1e-5 : 0.01;
  for (size_t i = 0; i < diff.size(); ++i) {
    if (kinked && std::abs(sums[i]) < near) diff[i] = 0;
  }
  return dtype == DType::kFloat32 ? diff : rounded_to_bfloat16(diff);
}

class Conv2dTest : public OpTestWith<Case> {};

/// Runs the op of `d` and compares everything that it computes.
void check_against_reference(const OpConfig& config, const Conv2dDesc& d, OpInputs in, double tolerance) {
  const reference::Conv2d ref = make_reference(d, in);
  const auto sums = ref.sums();
  in.diff_dst = {make_diff_dst(d, config.compute, sums)};

  const auto op = make_conv2d(config, d);
  ASSERT_EQ(op->info().dst[0].shape, (Shape{ref.n(), d.out_channels, ref.p(), ref.q()}));
  ASSERT_EQ(op->info().dst[0].dtype, config.compute);
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], reference::activation_forward(d.activation, sums), tolerance, "dst");
  const auto expected = ref.backward(reference::activation_backward(d.activation, sums, in.diff_dst[0]));
  expect_close(out.diff_src[0], expected.src, tolerance, "diff_src");
  expect_close(out.diff_params[0], expected.weights, tolerance, "diff_weights");
  if (d.has_bias) expect_close(out.diff_params[1], expected.bias, tolerance, "diff_bias");
}

TEST_P(Conv2dTest, AgreesWithReference) {
  const Conv2dDesc& d = GetParam().desc;
  check_against_reference(test_config(), d, make_inputs(d), kTolerance);
}

class Conv2dNarrowTest : public OpTestWith<Case> {};

TEST_P(Conv2dNarrowTest, AgreesWithReference) {
  Conv2dDesc d = GetParam().desc;
  OpInputs in = make_inputs(d);
  in.src[0].values = rounded_to_bfloat16(in.src[0].values);
  // Params that are bfloat16 numbers already: the op's rounding changes nothing.
  for (DenseTensor& param : in.params) param.values = rounded_to_bfloat16(param.values);
  OpConfig config = test_config();
  for (const DType dtype : kNarrowTypes) {
    config.compute = d.src.dtype = in.src[0].dtype = dtype;
    check_against_reference(config, d, in, kNarrowTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, Conv2dTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

/// Every fifth case: the float32 path below is the same one.
std::vector<Case> narrow_cases() {
  const std::vector<Case> all = all_cases();
  std::vector<Case> some;
  for (size_t i = 0; i < all.size(); i += 5) some.push_back(all[i]);
  return some;
}

INSTANTIATE_TEST_SUITE_P(Sweep, Conv2dNarrowTest, testing::ValuesIn(narrow_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class Conv2dOnce : public OpTest {};

TEST_F(Conv2dOnce, FiniteDifferences) {
  for (int64_t channels : {2, 17})
    for (Activation a : {Activation::kNone, Activation::kTanh, Activation::kSigmoid}) {
      const Conv2dDesc d = conv({2, channels, 5, 6}, 3, {3, 2}, {.padding = {1, 0, 0, 1}, .activation = a});
      const auto op = make_conv2d(test_config(), d);
      check_gradients(*op, make_inputs(d));
    }
}

TEST_F(Conv2dOnce, IntegerValuesAreExact) {
  for (auto [c, k] : {std::pair{1, 6}, {6, 16}, {32, 48}}) {
    const Conv2dDesc d =
        conv({20, c, 8, 9}, k, {3, 3}, {.padding = {1, 1, 1, 1}, .activation = Activation::kRelu});
    OpInputs in;
    in.src = {{d.src.shape, integer_values(d.src.n_elements(), 1, -3, 3)}};
    const Shape weights{k, c, 3, 3};
    in.params = {{weights, integer_values(weights.n_elements(), 2, -3, 3)},
                 {Shape{k}, integer_values(k, 3, -3, 3)}};
    const reference::Conv2d ref = make_reference(d, in);
    const auto sums = ref.sums();
    in.diff_dst = {integer_values(static_cast<int64_t>(sums.size()), 4, -3, 3)};
    const auto op = make_conv2d(test_config(), d);
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], reference::activation_forward(d.activation, sums), 0, "dst");
    const auto expected = ref.backward(reference::activation_backward(d.activation, sums, in.diff_dst[0]));
    expect_close(out.diff_src[0], expected.src, 0, "diff_src");
    expect_close(out.diff_params[0], expected.weights, 0, "diff_weights");
    expect_close(out.diff_params[1], expected.bias, 0, "diff_bias");
  }
}

/// One image (1, 1, h, w) through one 3 x 3 filter, without padding or bias.
Values filtered(const Shape& image, const Values& pixels, const Values& filter) {
  const auto op =
      make_conv2d(test_config(), {.src = {image}, .out_channels = 1, .kernel = {3, 3}, .has_bias = false});
  OpInputs in{.src = {{image, pixels}}, .params = {{Shape{1, 1, 3, 3}, filter}}};
  in.run_backward = false;
  return run_op(*op, in).dst[0];
}

// Course text 003, "2D convolution, discrete case".
TEST_F(Conv2dOnce, ExampleOfTheCourse) {
  const Values image = {1, 2, 2, -2, 1, 0, 2, 4, 2, -1, -1, 3, 0, 0, -3, -2};
  expect_close(filtered({1, 1, 4, 4}, image, {1, 0, 3, 2, -1, -1, 0, 1, -3}), {9, -20, 22, 11}, 0, "dst");
}

// Course text 000, "filters to extract features": the Sobel operator on a dummy image. The slides
// print the image with differing rows; these are the ones that give the feature map.
TEST_F(Conv2dOnce, SobelFeatureMapOfTheCourse) {
  const Values white = {0, 0, 0, 0, 1, 1, 0, 0, 0, 0,  //
                        0, 0, 0, 1, 1, 1, 1, 0, 0, 0,  //
                        0, 0, 0, 0, 1, 1, 0, 0, 0, 0,  //
                        1, 0, 0, 1, 1, 1, 1, 0, 0, 0,  //
                        0, 0, 1, 1, 1, 1, 1, 1, 0, 0,  //
                        0, 1, 0, 1, 1, 1, 1, 0, 1, 0,  //
                        0, 0, 0, 1, 1, 1, 1, 0, 0, 0,  //
                        0, 0, 0, 1, 1, 1, 1, 0, 0, 0,  //
                        0, 0, 0, 1, 0, 0, 1, 0, 0, 1,  //
                        0, 0, 1, 1, 0, 0, 1, 1, 0, 0};
  Values image;
  for (double value : white) image.push_back(255 * value);
  const Values feature_map = {0,    510,  1020, 510,  -510, -1020, -510,  0,     //
                              -255, 510,  1020, 510,  -510, -1020, -510,  0,     //
                              -255, 765,  765,  255,  -255, -765,  -765,  -255,  //
                              255,  765,  510,  0,    0,    -510,  -765,  -510,  //
                              255,  510,  765,  0,    0,    -765,  -510,  -255,  //
                              0,    765,  1020, 0,    0,    -1020, -765,  0,     //
                              0,    1020, 765,  -255, 255,  -765,  -1020, 255,   //
                              255,  1020, 0,    -765, 765,  0,     -1020, 255};
  expect_close(filtered({1, 1, 10, 10}, image, {-1, 0, 1, -2, 0, 2, -1, 0, 1}), feature_map, 0, "dst");
}

TEST_F(Conv2dOnce, FirstLayerAndInference) {
  Conv2dDesc d = conv({17, 1, 8, 8}, 6, {5, 5}, {.activation = Activation::kRelu, .wants_diff_src = false});
  OpInputs in = make_inputs(d);
  const reference::Conv2d ref = make_reference(d, in);
  const auto sums = ref.sums();
  in.diff_dst = {make_diff_dst(d, DType::kFloat32, sums)};
  in.wants_diff_src = false;
  const auto first = make_conv2d(test_config(), d);
  const OpOutputs out = run_op(*first, in);
  const auto expected = ref.backward(reference::activation_backward(d.activation, sums, in.diff_dst[0]));
  expect_close(out.diff_params[0], expected.weights, kTolerance, "diff_weights");

  OpConfig inference = test_config();
  inference.training = false;
  in.run_backward = false;
  const auto predict = make_conv2d(inference, d);
  EXPECT_EQ(run_op(*predict, in).dst[0], out.dst[0]) << "training and inference must give equal bits";
  count_comparisons(1);
}

TEST(Conv2dErrors, NameTheCause) {
  const auto refused = [](const Conv2dDesc& d, const std::string& word) {
    try {
      make_conv2d(test_config(), d);
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refused(conv({2, 3, 4, 4}, 4, {5, 5}), "does not fit");
  refused(conv({2, 3, 4, 4}, 4, {3, 3}, {.groups = 2}), "groups");
  refused(conv({2, 3, 4, 4}, 4, {3, 3}, {.stride = {0, 1}}), "stride");
  refused(conv({2, 3, 4, 4}, 4, {3, 3}, {.padding = {-1, 0, 0, 0}}), "padding");
  refused(conv({2, 3, 4, 4}, 0, {3, 3}), "out_channels");
  refused(conv(Shape{2, 3}, 4, {3, 3}), "(N, C, H, W)");
}

TEST(ConvOutputExtent, FollowsTheFormula) {
  EXPECT_EQ(conv_output_extent(32, 5, 1, 1, 0, 0), 28);
  EXPECT_EQ(conv_output_extent(28, 5, 1, 1, 2, 2), 28);
  EXPECT_EQ(conv_output_extent(227, 11, 4, 1, 0, 0), 55);
  EXPECT_EQ(conv_output_extent(7, 3, 2, 2, 0, 1), 2);
  EXPECT_EQ(conv_output_extent(2, 3, 1, 1, 0, 0), 0);
}

}  // namespace
}  // namespace lockstep
