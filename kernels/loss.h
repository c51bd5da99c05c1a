// Loss ops end a network: src = {prediction, target}. They write sums over the valid rows
// of the micro-batch, not means; the trainer divides once by the samples of the global batch.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// What a loss op leaves in dst[0], a float64 tensor of shape (kLossValues).
enum LossValue : int { kLossSum = 0, kNCorrect = 1, kNCounted = 2, kLossValues = 4 };

/// prediction (N, K) float32 logits, target (N) int64 class ids in [0, K).
/// Row loss: log(sum_j exp(x_j)) - x_target, computed with the maximum subtracted.
/// diff_src[0] = softmax(x) - onehot(target) for valid rows, 0 for padding; diff_src[1] is
/// empty. kNCorrect counts rows whose first maximum is the target. The workspace keeps diff_src.
/// A label outside [0, K), which the loader refuses, gives the loss NaN and nothing worse.
std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const TensorDesc& prediction);

/// prediction and target (N, …) float32 of equal shape. Row loss: sum of squared differences,
/// times 1/2 if `half` (course text 000), divided by the elements of a row if `mean` (PyTorch).
/// Both gradients can be had; diff_src[1] = -diff_src[0]. kNCorrect stays 0.
struct L2LossDesc {
  TensorDesc prediction;
  bool half = true;
  bool mean = false;
};
std::unique_ptr<Op> make_l2_loss(const OpConfig& config, const L2LossDesc& desc);

}  // namespace lockstep
