// Softmax cross-entropy of rows, whose classes lie side by side, and of pixels, whose classes are
// planes: the two loops behind make_softmax_cross_entropy. See loss.h for the formulas.
#pragma once

#include "kernels/cpu/loss_result.h"

namespace lockstep::cpu {

/// What both need of SoftmaxCrossEntropyDesc.
struct CrossEntropyRule {
  int64_t k = 0;                         // classes
  const float* class_weights = nullptr;  // (k), or null: 1 each
  std::optional<int64_t> ignore;
  double target_factor = 1;     // (1 - label smoothing) * weight
  double smoothing_factor = 0;  // label smoothing / k * weight
  double weights_total = 0;     // sum of the class weights

  double class_weight(int64_t c) const { return class_weights ? class_weights[c] : 1.0; }
};

/// What backward needs of a row or pixel: its maximum, and what exp(x - maximum) is multiplied by.
struct KeptPlace {
  float maximum, factor;
};

/// One row x (k). kept: null, or of the row.
LossSums row_cross_entropy(const CrossEntropyRule& rule, const float* x, int64_t target, KeptPlace* kept);
/// diff (k) = scale times its gradient; diff may be x.
void row_gradient(const CrossEntropyRule& rule, const float* x, int64_t target, KeptPlace kept, float scale,
                  float* diff);

constexpr int kPixelBlock = 64;
/// n <= kPixelBlock neighbouring pixels; class c of them is x + c * stride. Sums run over the classes,
/// then over the pixels, in order. kept: null, or of each pixel.
LossSums pixel_cross_entropy(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                             const int64_t* target, KeptPlace* kept);
/// diff, laid out as x, = scale times their gradients; diff may be x.
void pixel_gradients(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                     const int64_t* target, const KeptPlace* kept, float scale, float* diff);

}  // namespace lockstep::cpu
