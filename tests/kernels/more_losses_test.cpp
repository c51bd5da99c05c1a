// Losses other than softmax cross-entropy against the naive float64 reference, PyTorch's numbers and
// finite differences.
#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/loss.h"
#include "tests/reference/loss.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

class OtherLosses : public OpTest {};

const Shape kShapes[] = {Shape{1},     Shape{7},     Shape{3, 1},       Shape{4, 15},
                         Shape{4, 16}, Shape{5, 17}, Shape{2, 3, 5, 7}, Shape{3, 1000}};

TEST_F(OtherLosses, L2AgreesWithReference) {
  for (const bool half : {false, true})
    for (const bool mean : {false, true})
      for (const Shape& shape : kShapes)
        for (const int64_t missing : {0, 1}) {
          const int64_t n = shape[0], k = shape.n_elements() / n, n_valid = std::max<int64_t>(1, n - missing);
          OpInputs in;
          in.src = {random_tensor(shape, 6), random_tensor(shape, 7)};
          in.batch.n_valid = n_valid;
          const auto op = make_l2_loss(test_config(), {{shape}, half, mean});
          const OpOutputs out = run_op(*op, in);
          const auto expected =
              reference::l2_loss(in.src[0].values, in.src[1].values, k, n_valid, half, mean);
          expect_close(out.dst[0], expected.values(), 1e-14, "dst");
          expect_close(out.diff_src[0], expected.diff, 1e-6, "diff_src");
          Values other(expected.diff.size());
          for (size_t i = 0; i < other.size(); ++i) other[i] = -expected.diff[i];
          expect_close(out.diff_src[1], other, 1e-6, "gradient of the target");
        }
}

TEST_F(OtherLosses, L2FiniteDifferences) {
  const Shape shape{3, 4, 5};
  const Values target = random_values(60, 9);
  const Values x = random_values(60, 8);
  const Values numeric = numeric_gradient(
      [&](const Values& y) { return reference::l2_loss(y, target, 20, 3, true, false).loss; }, x);
  OpInputs in;
  in.src = {{shape, x}, {shape, target}};
  expect_close(run_op(*make_l2_loss(test_config(), {{shape}}), in).diff_src[0], numeric, 1e-6, "diff_src");
}

TEST_F(OtherLosses, L1AgreesWithReference) {
  for (const bool mean : {false, true})
    for (const Shape& shape : kShapes)
      for (const int64_t missing : {0, 1}) {
        const int64_t n = shape[0], k = shape.n_elements() / n, n_valid = std::max<int64_t>(1, n - missing);
        OpInputs in;
        in.src = {random_tensor(shape, 6), random_tensor(shape, 7)};
        in.src[0].values[0] = in.src[1].values[0];  // gradient 0
        in.batch.n_valid = n_valid;
        const OpOutputs out = run_op(*make_l1_loss(test_config(), {{shape}, mean, 0.5}), in);
        const auto expected = reference::l1_loss(in.src[0].values, in.src[1].values, k, n_valid, mean, 0.5);
        expect_close(out.dst[0], expected.values(), 1e-14, "dst");
        expect_close(out.diff_src[0], expected.diff, 1e-7, "diff_src");
        Values other(expected.diff.size());
        for (size_t i = 0; i < other.size(); ++i) other[i] = -expected.diff[i];
        expect_close(out.diff_src[1], other, 1e-7, "gradient of the target");
      }
}

TEST_F(OtherLosses, BinaryCrossEntropyAgreesWithReference) {
  for (const bool mean : {false, true})
    for (const double reach : {1e-3, 3.0, 200.0})
      for (const Shape& shape : kShapes)
        for (const int64_t missing : {0, 1}) {
          const int64_t n = shape[0], k = shape.n_elements() / n, n_valid = std::max<int64_t>(1, n - missing);
          OpInputs in;
          in.src = {random_tensor(shape, 6, -reach, reach), random_tensor(shape, 7, 0, 1)};
          for (size_t i = 0; i < in.src[1].values.size(); i += 3) in.src[1].values[i] = i % 2 == 0 ? 0 : 1;
          in.batch.n_valid = n_valid;
          const OpOutputs out = run_op(*make_binary_cross_entropy(test_config(), {{shape}, mean, 2}), in);
          const auto expected =
              reference::binary_cross_entropy(in.src[0].values, in.src[1].values, k, n_valid, mean, 2);
          expect_close(out.dst[0], expected.values(), 1e-6, "dst");
          const Values diff(out.diff_src[0].begin(), out.diff_src[0].end());
          expect_close(diff, expected.diff, 1e-6, "diff_src");
        }
}

TEST_F(OtherLosses, FiniteDifferences) {
  const Shape shape{3, 4, 5};
  const Values x = random_values(60, 8), t = random_values(60, 9);
  const auto judge = [&](Op& op, const auto& reference) {
    OpInputs in;
    in.src = {{shape, x}, {shape, t}};
    const Values numeric = numeric_gradient([&](const Values& y) { return reference(y).loss; }, x);
    expect_close(run_op(op, in).diff_src[0], numeric, 1e-6, "diff_src");
  };
  judge(*make_l1_loss(test_config(), {{shape}}),
        [&](const Values& y) { return reference::l1_loss(y, t, 20, 3, false); });
  judge(*make_binary_cross_entropy(test_config(), {{shape}}),
        [&](const Values& y) { return reference::binary_cross_entropy(y, t, 20, 3, false); });
}

// PyTorch 2.15, float32, reduction='sum'.
TEST_F(OtherLosses, BinaryCrossEntropyAgreesWithPyTorch) {
  OpInputs in;
  in.src = {{Shape{5}, {-30, -1, 0, 0.5, 100}}, {Shape{5}, {0, 1, 0.25, 1, 0}}};
  const OpOutputs out = run_op(*make_binary_cross_entropy(test_config(), {{Shape{5}}}), in);
  expect_close(out.dst[0], {102.480484, 3, 5, 5}, 1e-7, "dst");  // wrong: -1 for 1 and 100 for 0
  expect_close(out.diff_src[0], {9.35762359e-14, -0.731058598, 0.25, -0.377540648, 1}, 2e-7, "diff_src");
}

// Course text 000: a hidden layer's sums -3, 2, 0, 7 come to the score 0.57, the output 0.64; the
// Bernoulli loss of class 1 is -log of it.
TEST_F(OtherLosses, BernoulliLossOfTheCourse) {
  OpInputs in;
  in.src = {{Shape{1, 1}, {0.57}}, {Shape{1, 1}, {1}}};
  const OpOutputs out = run_op(*make_binary_cross_entropy(test_config(), {{Shape{1, 1}}}), in);
  EXPECT_NEAR(std::exp(-out.dst[0][kLossSum]), 0.64, 0.005);
  EXPECT_NEAR(out.diff_src[0][0], 0.64 - 1, 0.005);
  EXPECT_EQ(out.dst[0][kNCorrect], 1);
  count_comparisons(3);
}

// Margins ------------------------------------------------------------------------------------

TEST_F(OtherLosses, HingeAgreesWithReference) {
  for (const int64_t k : {1, 2, 3, 17, 100})
    for (const bool mean : {false, true})
      for (const double margin : {1.0, 0.25})
        for (const int64_t n_valid : {6, 7}) {
          const HingeLossDesc desc{{Shape{7, k}}, margin, mean, false, 1.5};
          OpInputs in;
          in.src = {random_tensor(Shape{7, k}, 1, -2, 2),
                    {Shape{7}, integer_values(7, 2, 0, std::max<int64_t>(1, k - 1)), DType::kInt64}};
          in.batch.n_valid = n_valid;
          const OpOutputs out = run_op(*make_hinge_loss(test_config(), desc), in);
          const auto expected = reference::hinge_loss(desc, in.src[0].values, in.src[1].values, n_valid);
          expect_close(out.dst[0], expected.values(), 1e-6, "dst");
          expect_close(out.diff_src[0], expected.diff, 1e-6, "diff_src");
        }
}

// PyTorch 2.15, torch.nn.functional.multi_margin_loss(reduction='sum'), which divides by the classes.
TEST_F(OtherLosses, HingeAgreesWithPyTorch) {
  OpInputs in;
  in.src = {{Shape{3, 3}, {0.5, -1.5, 0.25, 3, 3, 3, 1, -2, 0.5}}, {Shape{3}, {2, 0, 1}, DType::kInt64}};
  const OpOutputs out = run_op(*make_hinge_loss(test_config(), {{Shape{3, 3}}, 1, true}), in);
  expect_close(out.dst[0], {3.58333325, 1, 3, 3}, 1e-7, "dst");
  const double third = 1.0 / 3;
  expect_close(out.diff_src[0], {third, 0, -third, -2 * third, third, third, third, -2 * third, third}, 1e-7,
               "diff_src");
}

// Course text 004: max(0, 1 - y s). Targets as classes 0 and 1, as classes -1 and 1, and as signs.
TEST_F(OtherLosses, BinaryHingeTakesClassesAndSigns) {
  const Values scores{0.5, 2, -0.5, 0.25, 1};
  for (const Values& targets : {Values{1, 1, 0, 0, 1}, Values{1, 1, -1, -1, 1}})
    for (const bool signs : {false, true})
      for (const Shape& shape : {Shape{5}, Shape{5, 1}}) {
        OpInputs in;
        in.src = {{shape, scores}, {Shape{5}, targets, signs ? DType::kFloat32 : DType::kInt64}};
        const OpOutputs out = run_op(*make_hinge_loss(test_config(), {{shape}, 1, false, signs}), in);
        expect_close(out.dst[0], {0.5 + 0.5 + 1.25, 4, 5, 5}, 0, "dst");
        expect_close(out.diff_src[0], {-1, 0, 1, 1, 0}, 0, "diff_src");
      }
}

TEST_F(OtherLosses, PerceptronLearnsFromMistakesOnly) {
  OpInputs in;  //    right  wrong  zero    right  wrong  zero
  in.src = {{Shape{6}, {2, -3, 0, -1, 0.5, 0}}, {Shape{6}, {1, 1, 1, 0, 0, 0}, DType::kInt64}};
  const OpOutputs out = run_op(*make_perceptron_loss(test_config(), {{Shape{6}}}), in);
  expect_close(out.dst[0], {3.5, 2, 6, 6}, 0, "dst");
  expect_close(out.diff_src[0], {0, -1, -1, 0, 1, 1}, 0, "diff_src");
  const OpOutputs slides = run_op(*make_perceptron_loss(test_config(), {{Shape{6}}, true}), in);
  expect_close(slides.dst[0], {3.5, 3, 6, 6}, 0, "dst");
  expect_close(slides.diff_src[0], {0, -1, 0, 0, 1, 1}, 0, "the sign of 0 is 1");
}

/// Course text 004: w <- w + y x where sign(w x) != y, x in {0, 1}^2, the OR of two inputs and a
/// constant: the rule's trace, and a loss of zero at its end.
TEST_F(OtherLosses, PerceptronTracesTheRule) {
  const double x[4][3] = {{0, 0, 1}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}};
  const double y[4] = {-1, 1, 1, 1};
  const auto op = make_perceptron_loss(test_config(), {{Shape{1}}, true});
  double by_loss[3] = {}, by_rule[3] = {};
  int64_t n_mistakes = 0, last_mistake = 0;
  for (int64_t t = 0; t < 40; ++t) {
    const int64_t i = t % 4;
    double score = 0, by_rule_score = 0;
    for (int j = 0; j < 3; ++j) score += by_loss[j] * x[i][j], by_rule_score += by_rule[j] * x[i][j];
    OpInputs in;
    in.src = {{Shape{1}, {score}}, {Shape{1}, {y[i] > 0 ? 1.0 : 0.0}, DType::kInt64}};
    const double slope = run_op(*op, in).diff_src[0][0];
    const double sign = by_rule_score >= 0 ? 1 : -1;
    for (int j = 0; j < 3; ++j) {
      by_loss[j] -= slope * x[i][j];  // gradient descent with rate 1
      if (sign != y[i]) by_rule[j] += y[i] * x[i][j];
    }
    if (sign != y[i]) ++n_mistakes, last_mistake = t;
    expect_close(Values(by_loss, by_loss + 3), Values(by_rule, by_rule + 3), 0, "weights");
  }
  EXPECT_GT(n_mistakes, 2);
  EXPECT_LT(last_mistake, 30) << "did not converge";
}

// A power of two: gradients are scaled exactly, values stay.
TEST_F(OtherLosses, LossScaleIsOfGradientsAlone) {
  const Shape shape{5, 12};
  const auto judge = [&](Op& op, DenseTensor target, size_t n_gradients = 1) {
    OpInputs in{.src = {random_tensor(op.info().src[0].shape, 1, -2, 2), std::move(target)}};
    in.batch.n_valid = 4;
    const OpOutputs plain = run_op(op, in);
    in.batch.loss_scale = 1024;
    const OpOutputs scaled = run_op(op, in);
    expect_close(scaled.dst[0], plain.dst[0], 0, "dst");
    for (size_t i = 0; i < n_gradients; ++i) {
      Values expected = plain.diff_src[i];
      for (double& g : expected) g *= 1024;
      expect_close(scaled.diff_src[i], expected, 0, "diff_src");
    }
  };
  const OpConfig config = test_config();
  const DenseTensor classes{Shape{5}, integer_values(5, 2, 0, 1), DType::kInt64};
  judge(*make_softmax_cross_entropy(config, {{shape}, {}, 0.1}), classes);
  judge(*make_softmax_cross_entropy(config, {{Shape{5, 3, 2}}}),
        {Shape{5, 2}, integer_values(10, 2, 0, 2), DType::kInt64});
  judge(*make_l2_loss(config, {{shape}}), random_tensor(shape, 3), 2);
  judge(*make_l1_loss(config, {{shape}}), random_tensor(shape, 3), 2);
  judge(*make_binary_cross_entropy(config, {{shape}}), random_tensor(shape, 3, 0, 1));
  judge(*make_hinge_loss(config, {{shape}}), classes);
  judge(*make_hinge_loss(config, {{Shape{5, 1}}}), classes);
  judge(*make_perceptron_loss(config, {{Shape{5}}}), classes);
}

TEST_F(OtherLosses, WhatIsNoClassShowsInTheLoss) {
  const auto loss_of = [](Op& op, double target) {
    OpInputs in;
    in.src = {{op.info().src[0].shape, random_values(op.info().src[0].n_elements(), 1)},
              {Shape{1}, {target}, DType::kInt64}};
    return run_op(op, in).dst[0][kLossSum];
  };
  const auto hinge = make_hinge_loss(test_config(), {{Shape{1, 3}}});
  const auto binary = make_hinge_loss(test_config(), {{Shape{1, 1}}});
  for (const double target : {-2.0, 3.0, 1e15}) {
    EXPECT_TRUE(std::isnan(loss_of(*hinge, target)));
    EXPECT_TRUE(std::isnan(loss_of(*binary, target)));
    count_comparisons(2);
  }
}

TEST_F(OtherLosses, RefusesOtherShapesAndTypes) {
  const OpConfig config = test_config();
  const TensorDesc integers{Shape{4}, DType::kInt32, nullptr};
  EXPECT_THROW(make_l2_loss(config, {{Shape{}}}), Error);
  EXPECT_THROW(make_l2_loss(config, {integers}), Error);
  EXPECT_THROW(make_l1_loss(config, {integers}), Error);
  EXPECT_THROW(make_binary_cross_entropy(config, {integers}), Error);
  EXPECT_THROW(make_hinge_loss(config, {{Shape{4, 3, 2}}}), Error);
  EXPECT_THROW(make_hinge_loss(config, {{Shape{4, 3}}, 0}), Error);
  EXPECT_THROW(make_hinge_loss(config, {{Shape{4, 3}}, 1, false, true}), Error);
  EXPECT_THROW(make_perceptron_loss(config, {{Shape{4, 2}}}), Error);
  count_comparisons(8);
}

}  // namespace
}  // namespace lockstep
