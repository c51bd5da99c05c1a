// Transposed convolution against the naive float64 reference, finite differences, PyTorch and itself.
#include "kernels/conv_transpose2d.h"

#include <cmath>
#include <sstream>

#include "kernels/error.h"
#include "tests/reference/activation.h"
#include "tests/reference/conv_transpose2d.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// float32 sums of up to some hundred products, relative to the rms of the result.
constexpr double kTolerance = 1e-5;
// As in conv2d_test: roundings to 8 bits of dst, diff_src and the masked gradient.
constexpr double kNarrowTolerance = 0.02;

struct Case {
  std::string name;
  ConvTranspose2dDesc desc;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, Shape src, int64_t out, std::array<int64_t, 2> kernel,
                       ConvTranspose2dDesc rest = {}) {
    rest.src = {src};
    rest.out_channels = out;
    rest.kernel = kernel;
    cases.push_back({name, rest});
  };
  for (const auto& [c, k] : {std::pair<int64_t, int64_t>{1, 1}, {1, 6}, {5, 3}, {8, 8}, {16, 1}, {20, 34}})
    for (Activation a : {Activation::kNone, Activation::kRelu, Activation::kTanh})
      for (bool bias : {false, true}) {
        std::ostringstream text;
        text << "_c" << c << "k" << k << (bias ? "_bias_" : "_") << name_of(a);
        const std::string tail = text.str();
        add("k3" + tail, {3, c, 4, 5}, k, {3, 3}, {.has_bias = bias, .activation = a});
        add("k1" + tail, {2, c, 3, 1}, k, {1, 1}, {.has_bias = bias, .activation = a});
        add("stride2" + tail, {2, c, 4, 3}, k, {4, 4},
            {.stride = {2, 2}, .padding = {1, 1, 1, 1}, .has_bias = bias, .activation = a});
        add("output_padding" + tail, {2, c, 4, 3}, k, {3, 3},
            {.stride = {2, 2},
             .padding = {1, 1, 1, 1},
             .output_padding = {1, 1},
             .has_bias = bias,
             .activation = a});
        // Rows that no tap reaches.
        add("bare_rows" + tail, {2, c, 3, 3}, k, {2, 1},
            {.stride = {3, 2}, .output_padding = {2, 1}, .has_bias = bias, .activation = a});
        add("gaps" + tail, {1, c, 3, 4}, k, {1, 2}, {.stride = {3, 3}, .has_bias = bias, .activation = a});
        add("everything" + tail, {3, c, 5, 4}, k, {3, 2},
            {.stride = {2, 3},
             .dilation = {2, 3},
             .padding = {2, 1, 0, 3},
             .output_padding = {1, 2},
             .has_bias = bias,
             .activation = a});
      }
  for (const auto& [c, k, g] : {std::tuple<int64_t, int64_t, int64_t>{4, 6, 2}, {32, 16, 2}, {24, 24, 24}}) {
    add("groups" + std::to_string(c), {2, c, 4, 5}, k, {3, 3}, {.groups = g});
    add("groups_stride" + std::to_string(c), {2, c, 4, 5}, k, {3, 3},
        {.stride = {2, 2},
         .padding = {0, 1, 1, 0},
         .output_padding = {1, 0},
         .groups = g,
         .activation = Activation::kRelu});
  }
  return cases;
}

Shape weights_of(const ConvTranspose2dDesc& d) {
  return {d.src.shape[1], d.out_channels / d.groups, d.kernel[0], d.kernel[1]};
}

OpInputs make_inputs(const ConvTranspose2dDesc& d) {
  OpInputs in;
  in.src = {random_tensor(d.src.shape, 1)};
  in.params = {random_tensor(weights_of(d), 2, -0.3, 0.3)};
  if (d.has_bias) in.params.push_back(random_tensor(Shape{d.out_channels}, 3, 0.1, 0.5));
  return in;
}

void check(const OpConfig& config, const ConvTranspose2dDesc& d, OpInputs in, double tolerance) {
  const reference::ConvTranspose2d ref{d, in.src[0].values, in.params[0].values,
                                       d.has_bias ? in.params[1].values : Values{}};
  const auto sums = ref.sums();
  Values diff = rounded_to_bfloat16(random_values(static_cast<int64_t>(sums.size()), 4, -0.5, 1.0));
  for (size_t i = 0; i < diff.size(); ++i) {
    // A rounded sum may fall on the other side of the kink; on GPUs it is rounded before the bias is added.
    const double near = config.compute == DType::kFloat32 ? 1e-5 : 0.02;
    if (d.activation == Activation::kRelu && std::abs(sums[i]) < near) diff[i] = 0;
  }
  in.diff_dst = {diff};
  const auto op = make_conv_transpose2d(config, d);
  ASSERT_EQ(op->info().dst[0].shape, (Shape{ref.n(), d.out_channels, ref.p(), ref.q()}));
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], reference::activation_forward(d.activation, sums), tolerance, "dst");
  const auto expected = ref.backward(reference::activation_backward(d.activation, sums, diff));
  expect_close(out.diff_src[0], expected.src, tolerance, "diff_src");
  expect_close(out.diff_params[0], expected.weights, tolerance, "diff_weights");
  if (d.has_bias) expect_close(out.diff_params[1], expected.bias, tolerance, "diff_bias");
}

class ConvTranspose2dTest : public OpTestWith<Case> {};

TEST_P(ConvTranspose2dTest, AgreesWithReference) {
  check(test_config(), GetParam().desc, make_inputs(GetParam().desc), kTolerance);
}

TEST_P(ConvTranspose2dTest, AgreesInNarrowTypes) {
  ConvTranspose2dDesc d = GetParam().desc;
  OpInputs in = make_inputs(d);
  in.src[0].values = rounded_to_bfloat16(in.src[0].values);
  for (DenseTensor& param : in.params) param.values = rounded_to_bfloat16(param.values);
  OpConfig config = test_config();
  for (const DType dtype : kNarrowTypes) {
    config.compute = d.src.dtype = in.src[0].dtype = dtype;
    check(config, d, in, kNarrowTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, ConvTranspose2dTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class ConvTranspose2dOnce : public OpTest {};

TEST_F(ConvTranspose2dOnce, FiniteDifferences) {
  for (int64_t channels : {2, 9}) {
    const ConvTranspose2dDesc d{.src = {Shape{2, channels, 3, 4}},
                                .out_channels = 3,
                                .kernel = {3, 2},
                                .stride = {2, 1},
                                .padding = {1, 0, 0, 1},
                                .output_padding = {1, 0},
                                .activation = Activation::kTanh};
    const auto op = make_conv_transpose2d(test_config(), d);
    check_gradients(*op, make_inputs(d));
  }
}

// torch.nn.functional.conv_transpose2d(src, w, b, stride=(2, 3), padding=(1, 0), output_padding=(1, 2),
// groups=2, dilation=(2, 1)) in float64: src[i] = i % 7 - 3, w[i] = 5 i % 11 - 5, diff_dst[i] = 3 i % 5 - 2.
TEST_F(ConvTranspose2dOnce, AgreesWithPyTorch) {
  const auto pattern = [](int64_t n, int factor, int modulus, int offset) {
    Values values;
    for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<double>(i * factor % modulus - offset));
    return values;
  };
  const ConvTranspose2dDesc d{.src = {Shape{2, 4, 2, 3}},
                              .out_channels = 6,
                              .kernel = {3, 2},
                              .stride = {2, 3},
                              .dilation = {2, 1},
                              .padding = {1, 1, 0, 0},
                              .output_padding = {1, 2},
                              .groups = 2};
  OpInputs in;
  in.src = {{d.src.shape, pattern(48, 1, 7, 3)}};
  in.params = {{weights_of(d), pattern(72, 5, 11, 5)}, {Shape{6}, {1, -2, 3, 0, 2, -1}}};
  in.diff_dst = {pattern(720, 3, 5, 2)};
  const auto op = make_conv_transpose2d(test_config(), d);
  ASSERT_EQ(op->info().dst[0].shape, (Shape{2, 6, 6, 10}));
  const OpOutputs out = run_op(*op, in);
  const auto part = [](const Values& all, int64_t n, int64_t i) {
    return Values(all.begin() + n * i, all.begin() + n * (i + 1));
  };
  const Values dst_1_4 = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 17, -3, 2, 3,  3, 2, -11, 9, 2, 2,
                          2, 2, 2, 2, 2, 2, 2, 2, 2, 2, -1, 1,  2, -8, 3, 2, -15, 5, 2, 2,
                          2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 7,  1,  2, 8,  1, 2, 9,   1, 2, 2};
  expect_close(part(out.dst[0], 60, 10), dst_1_4, 0, "dst[1, 4]");
  expect_close(part(out.diff_src[0], 6, 7), {7, 2, -8, 17, -10, -12}, 0, "diff_src[1, 3]");
  expect_close(part(out.diff_params[0], 6, 7), {7, -4, 8, -1, 8, -1}, 0, "diff_weights[2, 1]");
}

// The transposed convolution is the adjoint of the convolution with equal weights: with stride 1 and
// a kernel of ones it sums windows.
TEST_F(ConvTranspose2dOnce, OnesCountTheTaps) {
  const ConvTranspose2dDesc d{
      .src = {Shape{1, 1, 3, 3}}, .out_channels = 1, .kernel = {2, 2}, .stride = {1, 1}, .has_bias = false};
  OpInputs in;
  in.src = {{d.src.shape, Values(9, 1)}};
  in.params = {{weights_of(d), Values(4, 1)}};
  in.diff_dst = {Values(16, 1)};
  const auto op = make_conv_transpose2d(test_config(), d);
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], {1, 2, 2, 1, 2, 4, 4, 2, 2, 4, 4, 2, 1, 2, 2, 1}, 0, "dst");
  expect_close(out.diff_src[0], Values(9, 4), 0, "diff_src");
}

TEST(ConvTranspose2dErrors, NameTheCause) {
  const auto refused = [](const ConvTranspose2dDesc& d, const std::string& word) {
    try {
      make_conv_transpose2d(test_config(), d);
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  const TensorDesc src{Shape{2, 3, 4, 4}};
  refused({.src = src, .out_channels = 4, .kernel = {3, 3}, .groups = 2}, "groups");
  refused({.src = src, .out_channels = 0}, "out_channels");
  refused({.src = src, .out_channels = 4, .stride = {0, 1}}, "stride");
  refused({.src = src, .out_channels = 4, .kernel = {3, 3}, .output_padding = {1, 0}}, "output_padding");
  refused({.src = src, .out_channels = 4, .kernel = {1, 1}, .padding = {2, 2, 0, 0}}, "padding");
  refused({.src = {Shape{2, 3}}, .out_channels = 4}, "(N, C, H, W)");
}

}  // namespace
}  // namespace lockstep
