// Affine against the naive float64 reference, finite differences and itself.
#include "kernels/affine.h"

#include "kernels/error.h"
#include "tests/reference/affine.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// float32 sums of up to 1000 products of numbers below 1, relative to the rms of the result.
constexpr double kTolerance = 1e-5;
// dst and diff_src are rounded to 8 bits (a half unit is 2^-9); the derivative of tanh and sigmoid is
// taken from a rounded dst, on GPUs of a rounded product, and masked diff_dst may be rounded once more
// before it is summed. Each term of a sum is off by a share of itself, so that what counts is the size of the
// terms and not that of a sum in which they cancel.
constexpr double kNarrowTolerance = 0.03;

struct Case {
  int64_t n, in, out;
  bool bias;
  Activation activation;
  bool chained = false;  // src in the layout of another affine's dst
  int64_t steps = 0;     // src (N, steps, I)

  int64_t rows() const { return steps > 0 ? n * steps : n; }
  Shape src() const { return steps > 0 ? Shape{n, steps, in} : Shape{n, in}; }
};

std::string name(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::to_string(c.n) + "x" + std::to_string(c.in) + "x" + std::to_string(c.out) +
         (c.bias ? "_bias_" : "_") + std::string(name_of(c.activation)) + (c.chained ? "_chained" : "") +
         (c.steps > 0 ? "_steps" + std::to_string(c.steps) : "");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (int64_t n : {1, 3, 16, 37})
    for (int64_t in : {1, 5, 48, 127})
      for (int64_t out : {1, 7, 32, 65})
        for (bool bias : {false, true})
          for (Activation a : {Activation::kNone, Activation::kRelu, Activation::kRelu6, Activation::kTanh,
                               Activation::kSigmoid})
            for (bool chained : {false, true}) cases.push_back({n, in, out, bias, a, chained});
  // The layers of the networks that the project measures itself by.
  cases.push_back({128, 784, 512, true, Activation::kRelu});
  cases.push_back({128, 512, 512, true, Activation::kRelu, true});
  cases.push_back({128, 512, 10, true, Activation::kNone, true});
  cases.push_back({128, 400, 120, true, Activation::kTanh});
  // The steps of sequences.
  for (int64_t steps : {1, 7, 64})
    for (Activation a : {Activation::kNone, Activation::kTanh})
      cases.push_back({5, 24, 65, a == Activation::kNone, a, false, steps});
  // More columns than one task of the epilogue takes.
  cases.push_back({129, 33, 600, true, Activation::kRelu});
  return cases;
}

Values squares(Values values) {
  for (double& value : values) value *= value;
  return values;
}

class AffineTest : public OpTestWith<Case> {
 protected:
  std::unique_ptr<Op> make(const OpConfig& config) const {
    const Case& c = GetParam();
    TensorDesc src{c.src(), config.compute};
    if (c.chained) {
      src = {Shape{c.n, 2}, config.compute};
      src = make_affine(config, {.src = src, .out_features = c.in})->info().dst[0];
    }
    return make_affine(config,
                       {.src = src, .out_features = c.out, .has_bias = c.bias, .activation = c.activation});
  }
  void check(const OpConfig& config, const OpInputs& in, double tolerance) const {
    const Case& c = GetParam();
    reference::Affine ref{c.rows(), c.in, c.out, in.src[0].values, in.params[0].values, {}};
    if (c.bias) ref.bias = in.params[1].values;
    const auto sums = ref.sums();

    const auto op = make(config);
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], reference::activation_forward(c.activation, sums), tolerance, "dst");
    const auto expected = ref.backward(reference::activation_backward(c.activation, sums, in.diff_dst[0]));
    // The squares of all terms, summed as the terms are.
    const reference::Affine of_squares{c.rows(), c.in, c.out, squares(ref.src), squares(ref.weights), {}};
    const auto terms =
        of_squares.backward(squares(reference::activation_backward(c.activation, sums, in.diff_dst[0])));
    const auto size = [&](const Values& sums_of_squares) {
      double sum = 0;
      for (const double square : sums_of_squares) sum += square;
      return std::sqrt(sum / static_cast<double>(sums_of_squares.size()));
    };
    expect_close(out.diff_src[0], expected.src, tolerance, "diff_src", size(terms.src));
    expect_close(out.diff_params[0], expected.weights, tolerance, "diff_weights", size(terms.weights));
    if (c.bias) expect_close(out.diff_params[1], expected.bias, tolerance, "diff_bias", size(terms.bias));
  }
  OpInputs inputs() const {
    const Case& c = GetParam();
    OpInputs result;
    result.src = {random_tensor(c.src(), 1)};
    const double scale = 1 / std::sqrt(static_cast<double>(c.in));
    result.params = {random_tensor(Shape{c.out, c.in}, 2, -scale, scale)};
    if (c.bias) result.params.push_back(random_tensor(Shape{c.out}, 3, 0.1, 0.5));
    result.diff_dst = {random_values(c.rows() * c.out, 4, -0.5, 1.0)};
    return result;
  }
};

TEST_P(AffineTest, AgreesWithReference) { check(test_config(), inputs(), kTolerance); }

TEST_P(AffineTest, AgreesInNarrowTypes) {
  OpInputs in = inputs();
  in.src[0].values = rounded_to_bfloat16(in.src[0].values);
  for (DenseTensor& param : in.params) param.values = rounded_to_bfloat16(param.values);
  in.diff_dst[0] = rounded_to_bfloat16(in.diff_dst[0]);
  OpConfig config = test_config();
  for (const DType dtype : kNarrowTypes) {
    config.compute = in.src[0].dtype = dtype;
    check(config, in, kNarrowTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, AffineTest, testing::ValuesIn(all_cases()), name);

class AffineOnce : public OpTest {};

TEST_F(AffineOnce, FiniteDifferences) {
  for (Activation a : {Activation::kNone, Activation::kTanh, Activation::kSigmoid}) {
    const auto op = make_affine(test_config(), {.src = {Shape{5, 9}}, .out_features = 6, .activation = a});
    check_gradients(*op, {.src = {random_tensor(Shape{5, 9}, 1)},
                          .params = {random_tensor(Shape{6, 9}, 2), random_tensor(Shape{6}, 3)}});
  }
}

TEST_F(AffineOnce, IntegerValuesAreExact) {
  const auto op = make_affine(test_config(),
                              {.src = {Shape{33, 100}}, .out_features = 17, .activation = Activation::kRelu});
  OpInputs in;
  in.src = {{Shape{33, 100}, integer_values(3300, 1, -4, 4)}};
  in.params = {{Shape{17, 100}, integer_values(1700, 2, -4, 4)}, {Shape{17}, integer_values(17, 3, -4, 4)}};
  in.diff_dst = {integer_values(33 * 17, 4, -4, 4)};
  const reference::Affine ref{33, 100, 17, in.src[0].values, in.params[0].values, in.params[1].values};
  const auto sums = ref.sums();
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], reference::activation_forward(Activation::kRelu, sums), 0, "dst");
  const auto expected = ref.backward(reference::activation_backward(Activation::kRelu, sums, in.diff_dst[0]));
  expect_close(out.diff_src[0], expected.src, 0, "diff_src");
  expect_close(out.diff_params[0], expected.weights, 0, "diff_weights");
  expect_close(out.diff_params[1], expected.bias, 0, "diff_bias");
}

TEST_F(AffineOnce, FirstLayerLeavesDiffSrcAlone) {
  const auto op =
      make_affine(test_config(), {.src = {Shape{4, 6}}, .out_features = 3, .wants_diff_src = false});
  OpInputs in{.src = {random_tensor(Shape{4, 6}, 1)},
              .params = {random_tensor(Shape{3, 6}, 2), random_tensor(Shape{3}, 3)},
              .diff_dst = {random_values(12, 4)}};
  in.wants_diff_src = false;
  const reference::Affine ref{4, 6, 3, in.src[0].values, in.params[0].values, in.params[1].values};
  const OpOutputs out = run_op(*op, in);
  expect_close(out.diff_params[0], ref.backward(in.diff_dst[0]).weights, kTolerance, "diff_weights");
}

TEST(AffineErrors, NameTheRemedy) {
  const AffineDesc vector{.src = {Shape{4}}, .out_features = 3};
  try {
    make_affine(test_config(), vector);
    FAIL() << "accepted a src of rank 1";
  } catch (const Error& error) {
    EXPECT_NE(error.remedy().find("flatten"), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_affine(test_config(), {.src = {Shape{4, 3}}, .out_features = 0}), Error);
  OpConfig cuda = test_config();
  cuda.device = {Device::Kind::kCuda, 0};
  if (cuda_device_count() == 0) {
    EXPECT_THROW(make_affine(cuda, {.src = {Shape{4, 3}}, .out_features = 2}), Error);
  }
}

}  // namespace
}  // namespace lockstep
