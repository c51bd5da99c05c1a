// Softmax cross-entropy with class weights, label smoothing, an ignored class and a weight of its own,
// for rows, pixels and steps: the naive float64 reference, PyTorch's numbers, finite differences.
#include <cmath>

#include "kernels/loss.h"
#include "tests/reference/loss.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr double kTolerance = 2e-6;  // exp and the factors of a row are float32

Shape target_shape(const SoftmaxCrossEntropyDesc& desc) {
  std::vector<int64_t> extents;
  const Shape& shape = desc.prediction.shape;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != (desc.classes_last ? shape.rank() - 1 : 1)) extents.push_back(shape[i]);
  return Shape(std::span<const int64_t>(extents));
}

int64_t n_classes(const SoftmaxCrossEntropyDesc& desc) {
  return desc.prediction.shape[desc.classes_last ? desc.prediction.shape.rank() - 1 : 1];
}

OpInputs inputs_of(const SoftmaxCrossEntropyDesc& desc, int64_t n_valid, double spread) {
  const Shape target = target_shape(desc);
  OpInputs in;
  in.src = {random_tensor(desc.prediction.shape, 1, -spread, spread),
            {target, integer_values(target.n_elements(), 2, 0, n_classes(desc) - 1), DType::kInt64}};
  if (desc.ignore)
    for (size_t i = 0; i < in.src[1].values.size(); i += 3)
      in.src[1].values[i] = static_cast<double>(*desc.ignore);
  in.batch.n_valid = n_valid;
  return in;
}

struct Logits {
  Shape shape;
  bool classes_last;
};
const Logits kLogitShapes[] = {
    {Shape{5, 7}, false},     {Shape{5, 33}, false},        {Shape{3, 4, 1}, false},
    {Shape{3, 2, 5}, false},  {Shape{2, 21, 9, 15}, false}, {Shape{2, 3, 8, 8}, false},
    {Shape{3, 4, 65}, false}, {Shape{2, 1, 7}, false},      {Shape{3, 2, 3, 4, 5}, false},
    {Shape{3, 9, 5}, true},   {Shape{2, 3, 4, 17}, true},   {Shape{4, 6}, true}};

class LossOptions : public OpTestWith<int> {
 protected:
  /// Bits of the parameter choose the options.
  static SoftmaxCrossEntropyDesc desc_of(const Logits& logits) {
    SoftmaxCrossEntropyDesc desc{{logits.shape}};
    desc.classes_last = logits.classes_last;
    const int64_t k = n_classes(desc);
    if (GetParam() & 1)
      for (int64_t c = 0; c < k; ++c) desc.class_weights.push_back(0.25f + 0.5f * static_cast<float>(c % 4));
    if (GetParam() & 2) desc.label_smoothing = 0.15;
    if (GetParam() & 4) desc.ignore = k > 2 && GetParam() & 1 ? 1 : -100;
    if (GetParam() & 8) desc.weight = 0.4;
    return desc;
  }
};
INSTANTIATE_TEST_SUITE_P(All, LossOptions, testing::Range(0, 16));

TEST_P(LossOptions, AgreeWithReference) {
  for (const Logits& logits : kLogitShapes)
    for (const int64_t missing : {0, 1})
      for (const double spread : {2.0, 60.0}) {
        SCOPED_TRACE(logits.shape.str());
        const SoftmaxCrossEntropyDesc desc = desc_of(logits);
        const OpInputs in = inputs_of(desc, logits.shape[0] - missing, spread);
        const auto op = make_softmax_cross_entropy(test_config(), desc);
        const OpOutputs out = run_op(*op, in);
        const auto expected =
            reference::cross_entropy(desc, in.src[0].values, in.src[1].values, in.batch.n_valid);
        for (int i = 0; i < kLossValues; ++i)
          expect_close({out.dst[0][static_cast<size_t>(i)]}, {expected.values()[static_cast<size_t>(i)]},
                       kTolerance, "value " + std::to_string(i));
        // A sure prediction has a gradient near 0, the rounded difference of two numbers near 1.
        const auto above = [&](Values diff) {
          for (double& g : diff) g += spread > 2 ? 1 : 0;
          return diff;
        };
        expect_close(above(out.diff_src[0]), above(expected.diff), kTolerance, "diff_src");

        OpConfig evaluation = test_config();
        evaluation.training = false;
        OpInputs forward = in;
        forward.run_backward = false;
        expect_close(run_op(*make_softmax_cross_entropy(evaluation, desc), forward).dst[0], out.dst[0], 0,
                     "evaluation");
      }
}

TEST_P(LossOptions, FiniteDifferences) {
  for (const Logits& logits :
       {Logits{Shape{3, 5}, false}, Logits{Shape{2, 3, 4}, false}, Logits{Shape{2, 3, 4}, true}}) {
    const SoftmaxCrossEntropyDesc desc = desc_of(logits);
    const OpInputs in = inputs_of(desc, logits.shape[0], 2);
    const Values numeric = numeric_gradient(
        [&](const Values& x) {
          return reference::cross_entropy(desc, x, in.src[1].values, logits.shape[0]).loss;
        },
        in.src[0].values);
    expect_close(run_op(*make_softmax_cross_entropy(test_config(), desc), in).diff_src[0], numeric,
                 kTolerance, "diff_src");
  }
}

// Channels-last, the classes of a pixel lie side by side; targets and values stay the same.
TEST_P(LossOptions, TakesTheLayoutOfThePrediction) {
  for (const Form form : kForms)
    for (const Shape& shape : {Shape{2, 21, 9, 15}, Shape{3, 8, 6}}) {
      SoftmaxCrossEntropyDesc desc = desc_of({shape, false});
      const OpInputs in = inputs_of(desc, shape[0], 2);
      desc.prediction = in_form(shape, form);
      const OpOutputs out = run_op(*make_softmax_cross_entropy(test_config(), desc), in);
      const auto expected = reference::cross_entropy(desc, in.src[0].values, in.src[1].values, shape[0]);
      expect_close(out.dst[0], expected.values(), kTolerance, "dst");
      expect_close(out.diff_src[0], expected.diff, kTolerance, "diff_src");
    }
}

class LossOptionsOnce : public OpTest {};

OpOutputs run(const SoftmaxCrossEntropyDesc& desc, const Values& logits, const Values& targets) {
  OpInputs in;
  in.src = {{desc.prediction.shape, logits}, {target_shape(desc), targets, DType::kInt64}};
  return run_op(*make_softmax_cross_entropy(test_config(), desc), in);
}

const Values kLogits{0.5, -1.5, 0.25, 3, 3, 3, 1, -2, 0.5};

// PyTorch 2.15, torch.nn.functional.cross_entropy in float32; the mean is the sum over kWeightSum.
TEST_F(LossOptionsOnce, AgreeWithPyTorch) {
  const OpOutputs weighted = run({{Shape{3, 3}}, {0.5f, 2.0f, 1.0f}}, kLogits, {2, 0, 1});
  expect_close(weighted.dst[0], {8.45776653, 1, 3, 3.5}, 1e-7, "weights: sum");
  expect_close({weighted.dst[0][kLossSum] / weighted.dst[0][kWeightSum]}, {2.41650462}, 1e-7, "mean");
  expect_close(weighted.diff_src[0],
               {0.52242887, 0.0707030594, -0.593132019, -0.333333343, 0.166666657, 0.166666657, 1.20749784,
                -1.93988228, 0.732384443},
               3e-7, "weights: gradient");
  const OpOutputs smooth = run({{Shape{3, 3}}, {}, 0.1}, kLogits, {2, 0, 1});
  expect_close({smooth.dst[0][kLossSum]}, {5.36914253}, 1e-7, "smoothing: sum");
  expect_close(smooth.diff_src[0],
               {0.489095539, 0.0373697244, -0.526465297, -0.600000024, 0.299999982, 0.299999982, 0.570415556,
                -0.903274477, 0.33285889},
               3e-7, "smoothing: gradient");
  const OpOutputs both = run({{Shape{3, 3}}, {0.5f, 2.0f, 1.0f}, 0.1, -100}, kLogits, {2, 0, -100});
  expect_close({both.dst[0][kLossSum] / both.dst[0][kWeightSum]}, {1.09953415}, 1e-7, "all: mean");
  Values mean = both.diff_src[0];
  for (double& g : mean) g /= both.dst[0][kWeightSum];
  expect_close(mean,
               {0.34297955, 0.00347651634, -0.346456081, -0.185185179, 0.0814814642, 0.103703685, 0, 0, 0},
               3e-7, "all: gradient of the mean");
}

TEST_F(LossOptionsOnce, PixelsAgreeWithPyTorch) {
  const OpOutputs out =
      run({{Shape{1, 2, 2, 2}}, {1, 3}, 0, 255}, {1, -1, 0.5, 2, 0, 3, -0.5, 1}, {0, 1, 1, 255});
  expect_close(out.dst[0], {4.30749655, 2, 3, 7}, 1e-7, "dst");
  expect_close(out.diff_src[0],
               {-0.268941402, 0.0539586358, 2.19317579, 0, 0.268941432, -0.053958714, -2.19317579, 0}, 3e-7,
               "diff_src");
}

TEST_F(LossOptionsOnce, NothingCountedIsNothing) {
  for (const Shape& shape : {Shape{2, 3}, Shape{2, 3, 4}}) {
    const SoftmaxCrossEntropyDesc desc{{shape}, {}, 0.1, 7};
    const OpOutputs out = run(desc, random_values(shape.n_elements(), 1),
                              Values(static_cast<size_t>(target_shape(desc).n_elements()), 7.0));
    expect_close(out.dst[0], {0, 0, 0, 0}, 0, "dst");
    expect_close(out.diff_src[0], Values(static_cast<size_t>(shape.n_elements()), 0.0), 0, "diff_src");
  }
}

TEST_F(LossOptionsOnce, LabelOutsideShowsInThePixelLoss) {
  for (const double label : {-1.0, 3.0, 1e15}) {
    const OpOutputs out = run({{Shape{1, 3, 2}}}, {1, 2, 3, 3, 2, 1}, {0, label});
    EXPECT_TRUE(std::isnan(out.dst[0][kLossSum])) << label;
    count_comparisons(1);
  }
}

TEST_F(LossOptionsOnce, BitsOfPixelsDoNotDependOnThreads) {
  const int before = compute_threads();
  const SoftmaxCrossEntropyDesc desc{{Shape{3, 11, 50, 41}}, {}, 0.1};
  std::vector<OpOutputs> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    outputs.push_back(run_op(*make_softmax_cross_entropy(test_config(), desc), inputs_of(desc, 3, 2)));
  }
  set_compute_threads(before);
  for (const OpOutputs& out : outputs) {
    expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
    expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
  }
}

}  // namespace
}  // namespace lockstep
