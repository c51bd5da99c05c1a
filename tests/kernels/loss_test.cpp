// Softmax cross-entropy of rows against the naive float64 reference, literal values, finite differences
// and itself; loss_options_test.cpp: pixels, class weights, label smoothing; more_losses_test.cpp: others.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/reference/loss.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// The sum of a row loss is in float64, its terms exp(x) are float32 of about 1 ulp.
constexpr double kTolerance = 1e-6;

struct Case {
  int64_t n, k, n_valid;
  double spread;  // logits in [-spread, spread)
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << "n" << c.n << "k" << c.k << "valid" << c.n_valid << "spread" << c.spread;
}

OpInputs cross_entropy_inputs(const Case& c, Values prediction) {
  OpInputs in;
  in.src = {{Shape{c.n, c.k}, std::move(prediction)},
            {Shape{c.n}, integer_values(c.n, 2, 0, c.k - 1), DType::kInt64}};
  in.batch.n_valid = c.n_valid;
  return in;
}

class SoftmaxCrossEntropyTest : public OpTestWith<Case> {};

TEST_P(SoftmaxCrossEntropyTest, AgreesWithReference) {
  const Case& c = GetParam();
  const OpInputs in = cross_entropy_inputs(c, random_values(c.n * c.k, 1, -c.spread, c.spread));
  const auto op = make_softmax_cross_entropy(test_config(), {Shape{c.n, c.k}});
  const OpOutputs out = run_op(*op, in);
  const auto expected =
      reference::cross_entropy({{Shape{c.n, c.k}}}, in.src[0].values, in.src[1].values, c.n_valid);
  expect_close({out.dst[0][kLossSum]}, {expected.loss}, kTolerance, "loss");
  EXPECT_EQ(out.dst[0][kNCorrect], expected.n_correct);
  EXPECT_EQ(out.dst[0][kNCounted], c.n_valid);
  EXPECT_EQ(out.dst[0][kWeightSum], c.n_valid);
  EXPECT_EQ(out.dst[0].size(), kLossValues);
  expect_close(out.diff_src[0], expected.diff, kTolerance, "diff_src");
  for (int64_t i = c.n_valid * c.k; i < c.n * c.k; ++i)
    EXPECT_EQ(out.diff_src[0][static_cast<size_t>(i)], 0.0);
}

// Integer logits: maxima occur several times, the first of them decides kNCorrect.
TEST_P(SoftmaxCrossEntropyTest, CountsTheFirstMaximum) {
  const Case& c = GetParam();
  const OpInputs in = cross_entropy_inputs(c, integer_values(c.n * c.k, 3, -2, 1));
  const auto op = make_softmax_cross_entropy(test_config(), {Shape{c.n, c.k}});
  const OpOutputs out = run_op(*op, in);
  const auto expected =
      reference::cross_entropy({{Shape{c.n, c.k}}}, in.src[0].values, in.src[1].values, c.n_valid);
  expect_close({out.dst[0][kNCorrect]}, {expected.n_correct}, 0, "correct");
  expect_close({out.dst[0][kLossSum]}, {expected.loss}, kTolerance, "loss");
}

TEST_P(SoftmaxCrossEntropyTest, EvaluationGivesTheSameBits) {
  const Case& c = GetParam();
  OpInputs in = cross_entropy_inputs(c, random_values(c.n * c.k, 1, -c.spread, c.spread));
  in.run_backward = false;
  OpConfig evaluation = test_config();
  evaluation.training = false;
  const auto op = make_softmax_cross_entropy(evaluation, {Shape{c.n, c.k}});
  EXPECT_EQ(op->info().workspace_bytes, 0);
  const auto trained = make_softmax_cross_entropy(test_config(), {Shape{c.n, c.k}});
  expect_close(run_op(*op, in).dst[0], run_op(*trained, in).dst[0], 0, "dst");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (int64_t k : {1, 2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 100, 1000})
    for (int64_t n : {1, 5}) cases.push_back({n, k, n, 3.0});
  for (int64_t valid : {1, 9, 10, 11}) cases.push_back({11, 10, valid, 1.0});
  cases.push_back({4, 50257, 3, 10.0});
  cases.push_back({6, 40, 6, 90.0});  // terms that underflow
  cases.push_back({6, 40, 6, 1e4});
  cases.push_back({3, 20, 3, 1e-3});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Sweep, SoftmaxCrossEntropyTest, testing::ValuesIn(all_cases()));

class LossOnce : public OpTest {};

OpOutputs run_cross_entropy(Shape shape, Values logits, Values targets) {
  OpInputs in;
  in.src = {{shape, std::move(logits)}, {Shape{shape[0]}, std::move(targets), DType::kInt64}};
  return run_op(*make_softmax_cross_entropy(test_config(), {shape}), in);
}

TEST_F(LossOnce, LargeLogitsAreExact) {
  const OpOutputs out = run_cross_entropy(Shape{1, 3}, {1, 1000, 2}, {1});
  expect_close(out.dst[0], {0, 1, 1, 1}, 0, "dst");
  expect_close(out.diff_src[0], {0, 0, 0}, 0, "softmax (0, 1, 0) minus onehot");
  const OpOutputs wrong = run_cross_entropy(Shape{1, 3}, {1, 1000, 2}, {0});
  expect_close(wrong.dst[0], {999, 0, 1, 1}, 0, "dst");
  expect_close(wrong.diff_src[0], {-1, 1, 0}, 0, "diff_src");
}

// PyTorch 2.15, torch.nn.functional.cross_entropy(reduction='sum'), float32.
TEST_F(LossOnce, AgreesWithPyTorch) {
  const OpOutputs out = run_cross_entropy(Shape{2, 3}, {0.5, -1.5, 0.25, 3, 3, 3}, {2, 0});
  expect_close(out.dst[0], {0.899266422 + 1.09861231, 1, 2, 2}, 1e-7, "dst");
  expect_close(out.diff_src[0],
               {0.52242887, 0.0707030594, -0.593132019, -0.666666687, 0.333333313, 0.333333313}, 3e-7,
               "diff_src");
}

TEST_F(LossOnce, EqualLogitsGiveLogK) {
  for (const int64_t k : {1, 2, 10, 1000}) {
    const OpOutputs out = run_cross_entropy(Shape{1, k}, Values(static_cast<size_t>(k), -7.0), {0});
    expect_close({out.dst[0][kLossSum]}, {std::log(static_cast<double>(k))}, 1e-14, "log k");
  }
}

TEST_F(LossOnce, MinusInfinityIsProbabilityZero) {
  const double inf = std::numeric_limits<double>::infinity();
  const OpOutputs out = run_cross_entropy(Shape{1, 3}, {0, -inf, 0}, {0});
  expect_close({out.dst[0][kLossSum]}, {std::log(2.0)}, 1e-7, "loss");
  expect_close(out.diff_src[0], {-0.5, 0, 0.5}, 1e-7, "diff_src");
}

TEST_F(LossOnce, NanShowsInTheLoss) {
  for (const int64_t k : {3, 40})
    for (int64_t at = 0; at < k; ++at) {
      Values logits(static_cast<size_t>(k), 0.5);
      logits[static_cast<size_t>(at)] = std::nan("");
      OpInputs in;
      in.src = {{Shape{1, k}, logits}, {Shape{1}, {1}, DType::kInt64}};
      const auto op = make_softmax_cross_entropy(test_config(), {Shape{1, k}});
      EXPECT_TRUE(std::isnan(run_op(*op, in).dst[0][kLossSum])) << at << " of " << k;
      count_comparisons(1);
    }
}

// The loader refuses such labels; were one to come through, nothing outside is read or written.
TEST_F(LossOnce, LabelOutsideShowsInTheLoss) {
  for (const double label : {-1.0, 3.0, 1e15, -1e15}) {
    const OpOutputs out = run_cross_entropy(Shape{2, 3}, {1, 2, 3, 3, 2, 1}, {0, label});
    EXPECT_TRUE(std::isnan(out.dst[0][kLossSum])) << label;
    count_comparisons(1);
  }
}

TEST_F(LossOnce, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  OpInputs in;
  in.src = {random_tensor(Shape{67, 1001}, 1), {Shape{67}, integer_values(67, 2, 0, 1000), DType::kInt64}};
  std::vector<OpOutputs> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    outputs.push_back(run_op(*make_softmax_cross_entropy(test_config(), {Shape{67, 1001}}), in));
  }
  set_compute_threads(before);
  for (const OpOutputs& out : outputs) {
    expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
    expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
  }
}

TEST_F(LossOnce, CrossEntropyFiniteDifferences) {
  const int64_t n = 5, k = 19, n_valid = 4;
  const Values targets = integer_values(n, 4, 0, k - 1);
  const Values x = random_values(n * k, 5, -2, 2);
  const Values numeric = numeric_gradient(
      [&](const Values& y) {
        return reference::cross_entropy({{Shape{n, k}}}, y, targets, n_valid).loss;
      },
      x);
  OpInputs in;
  in.src = {{Shape{n, k}, x}, {Shape{n}, targets, DType::kInt64}};
  in.batch.n_valid = n_valid;
  const OpOutputs out = run_op(*make_softmax_cross_entropy(test_config(), {Shape{n, k}}), in);
  expect_close(out.diff_src[0], numeric, 1e-6, "diff_src");
}

TEST_F(LossOnce, RefusesOtherShapesAndTypes) {
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {Shape{4}}), Error);
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {Shape{4, 0}}), Error);
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {{Shape{4, 3}}, {1, 2}}), Error);
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {{Shape{4, 2}}, {1, -2}}), Error);
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {{Shape{4, 2}}, {}, 1.0}), Error);
  EXPECT_THROW(make_softmax_cross_entropy(test_config(), {Shape{4, 3}, DType::kFloat64, nullptr}), Error);
  count_comparisons(6);
}

}  // namespace
}  // namespace lockstep
