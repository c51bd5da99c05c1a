// The locally connected layer against the naive float64 reference, the convolution that it is with
// equal weights everywhere, finite differences and itself.
#include "kernels/local_conv2d.h"

#include "kernels/conv2d.h"
#include "kernels/error.h"
#include "tests/reference/local_conv2d.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

constexpr double kTolerance = 1e-5;  // float32 sums of some hundred products
// dst and diff_src are rounded to 8 bits (a half unit is 2^-9), as are sums on the way.
constexpr double kNarrowTolerance = 0.02;

std::vector<LocalConv2dDesc> all_cases() {
  std::vector<LocalConv2dDesc> cases;
  for (int64_t n : {1, 3, 17})
    for (int64_t c : {1, 5, 16})
      for (int64_t k : {1, 7, 9})
        for (bool bias : {false, true}) {
          const auto add = [&](Shape src, std::array<int64_t, 2> kernel, std::array<int64_t, 2> stride,
                               std::array<int64_t, 4> padding) {
            cases.push_back({{src}, k, kernel, stride, padding, bias});
          };
          add({n, c, 5, 4}, {3, 3}, {1, 1}, {0, 0, 0, 0});
          add({n, c, 1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0});
          add({n, c, 6, 7}, {2, 3}, {2, 3}, {1, 0, 2, 1});
        }
  return cases;
}

reference::LocalConv2d make_reference(const LocalConv2dDesc& d, uint64_t seed) {
  reference::LocalConv2d ref{d, random_values(d.src.shape.n_elements(), seed), {}, {}};
  const int64_t places = ref.places(0) * ref.places(1);
  ref.weights = random_values(places * ref.k() * ref.c() * d.kernel[0] * d.kernel[1], seed + 1);
  if (d.has_bias) ref.bias = random_values(ref.k() * places, seed + 2);
  return ref;
}

OpInputs inputs_of(const reference::LocalConv2d& ref) {
  const LocalConv2dDesc& d = ref.desc;
  const int64_t p = ref.places(0), q = ref.places(1);
  OpInputs in;
  in.src = {{d.src.shape, ref.src, d.src.dtype}};
  in.params = {{Shape{p * q, ref.k(), ref.c() * d.kernel[0] * d.kernel[1]}, ref.weights}};
  if (d.has_bias) in.params.push_back({Shape{ref.k(), p, q}, ref.bias});
  in.diff_dst = {rounded_to_bfloat16(random_values(ref.n() * ref.k() * p * q, 9))};
  return in;
}

void check(const OpConfig& config, const reference::LocalConv2d& ref, double tolerance) {
  const OpInputs in = inputs_of(ref);
  const auto op = make_local_conv2d(config, ref.desc);
  ASSERT_EQ(op->info().dst[0].shape, (Shape{ref.n(), ref.k(), ref.places(0), ref.places(1)}));
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], ref.forward(), tolerance, "dst");
  const auto expected = ref.backward(in.diff_dst[0]);
  expect_close(out.diff_src[0], expected.src, tolerance, "diff_src");
  expect_close(out.diff_params[0], expected.weights, tolerance, "diff_weights");
  if (ref.desc.has_bias) expect_close(out.diff_params[1], expected.bias, tolerance, "diff_bias");
}

class LocalConv2dTest : public OpTestWith<LocalConv2dDesc> {};
INSTANTIATE_TEST_SUITE_P(Sweep, LocalConv2dTest, testing::ValuesIn(all_cases()));

TEST_P(LocalConv2dTest, AgreesWithReference) {
  check(test_config(), make_reference(GetParam(), 1), kTolerance);
}

TEST_P(LocalConv2dTest, AgreesInNarrowTypes) {
  reference::LocalConv2d ref = make_reference(GetParam(), 1);
  ref.src = rounded_to_bfloat16(ref.src);
  ref.weights = rounded_to_bfloat16(ref.weights);
  ref.bias = rounded_to_bfloat16(ref.bias);
  OpConfig config = test_config();
  for (const DType dtype : kNarrowTypes) {
    config.compute = ref.desc.src.dtype = dtype;
    check(config, ref, kNarrowTolerance);
  }
}

class LocalConv2dOnce : public OpTest {};

TEST_F(LocalConv2dOnce, FiniteDifferences) {
  const reference::LocalConv2d ref = make_reference(
      {.src = {Shape{2, 2, 4, 4}}, .out_channels = 3, .kernel = {3, 2}, .padding = {1, 0, 0, 1}}, 5);
  const auto op = make_local_conv2d(test_config(), ref.desc);
  check_gradients(*op, inputs_of(ref));
}

TEST_F(LocalConv2dOnce, WithEqualWeightsItIsAConvolution) {
  const LocalConv2dDesc d{
      .src = {Shape{3, 4, 6, 5}}, .out_channels = 5, .kernel = {3, 3}, .padding = {1, 1, 1, 1}};
  const int64_t places = 30, n_weights = 5 * 36;
  const Values kernel = integer_values(n_weights, 2, -3, 3), bias = integer_values(5, 3, -3, 3);
  OpInputs in{.src = {{d.src.shape, integer_values(d.src.n_elements(), 1, -3, 3)}},
              .params = {{Shape{5, 4, 3, 3}, kernel}, {Shape{5}, bias}},
              .diff_dst = {integer_values(3 * 5 * places, 4, -3, 3)}};
  const OpOutputs shared =
      run_op(*make_conv2d(test_config(),
                          {.src = d.src, .out_channels = 5, .kernel = d.kernel, .padding = d.padding}),
             in);
  in.params = {{Shape{places, 5, 36}, {}}, {Shape{5, 6, 5}, {}}};
  for (int64_t place = 0; place < places; ++place)
    in.params[0].values.insert(in.params[0].values.end(), kernel.begin(), kernel.end());
  for (double value : bias)
    in.params[1].values.insert(in.params[1].values.end(), static_cast<size_t>(places), value);
  const OpOutputs local = run_op(*make_local_conv2d(test_config(), d), in);
  expect_close(local.dst[0], shared.dst[0], 0, "dst");
  expect_close(local.diff_src[0], shared.diff_src[0], 0, "diff_src");
  Values sums(static_cast<size_t>(n_weights));
  for (size_t i = 0; i < local.diff_params[0].size(); ++i) sums[i % sums.size()] += local.diff_params[0][i];
  expect_close(sums, shared.diff_params[0], 0, "diff_weights, summed over places");
}

TEST(LocalConv2dErrors, NameTheCause) {
  const auto refused = [](const LocalConv2dDesc& d, const std::string& word) {
    try {
      make_local_conv2d(test_config(), d);
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refused({.src = {Shape{2, 3, 4, 4}}, .out_channels = 4, .kernel = {5, 5}}, "does not fit");
  refused({.src = {Shape{2, 3, 4, 4}}, .out_channels = 0}, "out_channels");
  refused({.src = {Shape{2, 3, 4, 4}}, .out_channels = 1, .stride = {0, 1}}, "stride");
  refused({.src = {Shape{2, 3}}, .out_channels = 4}, "(N, C, H, W)");
}

}  // namespace
}  // namespace lockstep
