// Loss ops end a network: src = {prediction, target}. They write sums over the valid rows
// of the micro-batch, not means; the trainer divides once by a sum over the global batch.
//
// All of them: prediction (N, …) float32. dst[0] holds LossValue. Gradients go to diff_src[0], 0 for
// padding; diff_src[1] is empty unless said otherwise. `weight` scales loss and gradient,
// BatchContext::loss_scale the gradient alone. Class ids that are none, which the loader refuses, give the
// loss NaN and nothing worse.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

/// What a loss op leaves in dst[0], a float64 tensor of shape (kLossValues).
///   kNCorrect, kNCounted  predictions that were right, and how many were judged (accuracy)
///   kWeightSum            what the mean divides by: each row or pixel counts 1, or the weight of its
///                         class, or 0 where it is ignored; `weight` is no part of it
enum LossValue : int { kLossSum = 0, kNCorrect = 1, kNCounted = 2, kWeightSum = 3, kLossValues = 4 };

/// prediction (N, K, d1, …) logits, target (N, d1, …) int64 class ids in [0, K): one row, or one per
/// pixel or step. With l_c = log softmax(x)_c, the maximum subtracted, w the class weights and e the
/// label smoothing, a row's loss is PyTorch's
///   -(1 - e) w_target l_target - e / K sum_c w_c l_c
/// and its part of kWeightSum w_target. kNCorrect counts rows whose first maximum is the target.
/// The workspace keeps two numbers of each row; diff_src[0] may be the prediction's own memory.
struct SoftmaxCrossEntropyDesc {
  TensorDesc prediction;
  std::vector<float> class_weights = {};         // (K); empty: 1 each
  double label_smoothing = 0;                    // [0, 1)
  std::optional<int64_t> ignore = std::nullopt;  // rows with this target count nothing
  bool classes_last = false;                     // prediction (N, d1, …, K) instead
  double weight = 1;
};
std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc);

/// The prediction as classes of places: each of `samples` has as many rows, pixels or steps.
struct ClassView {
  int64_t samples = 0, classes = 0, places = 0;
  Shape target;  // (N, d1, …)
};
ClassView class_view(const SoftmaxCrossEntropyDesc& desc);

/// prediction and target (N, …) float32 of equal shape; row loss: the sum over its elements, divided
/// by their number if `mean` (PyTorch). kNCorrect stays 0.
///   l2: (x - t)^2, times 1/2 if `half` (course text 000); both gradients can be had:
///       diff_src[1] = -diff_src[0]
struct L2LossDesc {
  TensorDesc prediction;
  bool half = true;
  bool mean = false;
  double weight = 1;
};
std::unique_ptr<Op> make_l2_loss(const OpConfig& config, const L2LossDesc& desc);

///   l1: |x - t|, gradient 0 where they are equal; both gradients can be had
struct L1LossDesc {
  TensorDesc prediction;
  bool mean = false;
  double weight = 1;
};
std::unique_ptr<Op> make_l1_loss(const OpConfig& config, const L1LossDesc& desc);

///   Binary cross-entropy (Bernoulli loss) of the logit x and the probability t in [0, 1]:
///   -t log s(x) - (1 - t) log(1 - s(x)), s the sigmoid; gradient s(x) - t. Accuracy is by element:
///   right where x > 0 and t > 1/2 agree.
struct BinaryCrossEntropyDesc {
  TensorDesc prediction;
  bool mean = false;
  double weight = 1;
};
std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig& config, const BinaryCrossEntropyDesc& desc);

/// prediction (N, K) scores, target (N).
///   K > 1: class ids; sum over j != target of max(0, margin + x_j - x_target), divided by K if `mean`
///          (PyTorch's MultiMarginLoss). Accuracy by the first maximum.
///   K = 1: max(0, margin - t x) with t = 1 for class 1 and t = -1 for class 0 or -1. Accuracy:
///          class 1 is x > 0. With `signs` the target is float32, t its sign.
struct HingeLossDesc {
  TensorDesc prediction;
  double margin = 1;
  bool mean = false;
  bool signs = false;
  double weight = 1;
};
std::unique_ptr<Op> make_hinge_loss(const OpConfig& config, const HingeLossDesc& desc);

/// Rosenblatt's rule as a loss: prediction (N, 1) or (N), target as for hinge with K = 1. A mistake,
/// t x <= 0, costs -t x and has the gradient -t; all others 0, and are right. With `zero_is_positive`
/// (course text 004: the sign of 0 is 1) x = 0 is no mistake for t = 1.
struct PerceptronLossDesc {
  TensorDesc prediction;
  bool zero_is_positive = false;
  bool signs = false;
  double weight = 1;
};
std::unique_ptr<Op> make_perceptron_loss(const OpConfig& config, const PerceptronLossDesc& desc);

}  // namespace lockstep
