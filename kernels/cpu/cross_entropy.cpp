// See cross_entropy.h. With p the softmax, W the sum of the class weights w and e the label smoothing,
// the gradient is p_j ((1 - e) w_target + e W / K) - e w_j / K - [j = target] (1 - e) w_target.
#include "kernels/cpu/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/softmax_rows.h"
#include "kernels/cpu/vector_math.h"

namespace lockstep::cpu {

namespace {

bool is_class(const CrossEntropyRule& rule, int64_t target) { return target >= 0 && target < rule.k; }

/// A label that is no class is a bug, which must show.
LossSums not_a_class() { return {std::numeric_limits<double>::quiet_NaN(), 0, 1, 1}; }

LOCKSTEP_VECTORIZE void subtract_weights(int64_t k, float factor, const float* class_weights, float* diff) {
  for (int64_t j = 0; j < k; ++j) diff[j] -= factor * (class_weights ? class_weights[j] : 1.0f);
}

/// sum_c w_c (x_c - maximum)
LOCKSTEP_VECTORIZE double weighted_distance(int64_t k, const float* class_weights, const float* x,
                                            float maximum) {
  return lane_sum(k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA {
    const double distance = static_cast<double>(x[j]) - maximum;
    return class_weights ? class_weights[j] * distance : distance;
  });
}

}  // namespace

LossSums row_cross_entropy(const CrossEntropyRule& rule, const float* x, int64_t target, float* diff) {
  const int64_t k = rule.k;
  if (rule.ignore && target == *rule.ignore) {
    if (diff) std::fill_n(diff, k, 0.0f);
    return {};
  }
  const float maximum = row_maximum(k, x);
  const double weight = is_class(rule, target) ? rule.class_weight(target) : 1.0;
  const double factor = rule.target_factor * weight;
  double sum;
  if (diff) {
    sum = exponentials(k, x, maximum, diff);
    scale_row(k, static_cast<float>((factor + rule.smoothing_factor * rule.weights_total) / sum), diff);
    if (is_class(rule, target)) diff[target] -= static_cast<float>(factor);
    if (rule.smoothing_factor > 0)
      subtract_weights(k, static_cast<float>(rule.smoothing_factor), rule.class_weights, diff);
  } else {
    sum = sum_of_exponentials(k, x, maximum);
  }
  if (!is_class(rule, target)) return not_a_class();
  double loss = factor * (std::log(sum) - (static_cast<double>(x[target]) - maximum));
  if (rule.smoothing_factor > 0)
    loss += rule.smoothing_factor *
            (rule.weights_total * std::log(sum) - weighted_distance(k, rule.class_weights, x, maximum));
  return {loss, is_first_maximum(target, x, maximum) ? 1.0 : 0.0, 1.0, weight};
}

// Pixels --------------------------------------------------------------------------------------

namespace {

/// Of each pixel: the maximum over the classes, the first class that has it.
LOCKSTEP_VECTORIZE void pixel_maxima(int64_t k, int64_t n, int64_t stride, const float* x, float* maximum,
                                     int32_t* first) {
  for (int64_t i = 0; i < n; ++i) {
    maximum[i] = x[i];
    first[i] = 0;
  }
  for (int64_t c = 1; c < k; ++c) {
    const float* row = x + c * stride;
    for (int64_t i = 0; i < n; ++i) {
      const bool larger = row[i] > maximum[i];
      maximum[i] = larger ? row[i] : maximum[i];
      first[i] = larger ? static_cast<int32_t>(c) : first[i];
    }
  }
}

/// sum[i] = sum_c exp(x_c - maximum), each term also to e unless null; with `smooth`:
/// smooth[i] = sum_c w_c (x_c - maximum).
LOCKSTEP_VECTORIZE void pixel_sums(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                                   const float* maximum, float* e, double* sum, double* smooth) {
  std::fill_n(sum, n, 0.0);
  if (smooth) std::fill_n(smooth, n, 0.0);
  for (int64_t c = 0; c < rule.k; ++c) {
    const float* row = x + c * stride;
    float terms[kPixelBlock];
    for (int64_t i = 0; i < n; ++i) terms[i] = exp_nonpositive(row[i] - maximum[i]);
    for (int64_t i = 0; i < n; ++i) sum[i] += terms[i];
    if (e) std::copy_n(terms, n, e + c * stride);
    if (!smooth) continue;
    const double weight = rule.class_weights ? rule.class_weights[c] : 1.0;
    for (int64_t i = 0; i < n; ++i) smooth[i] += weight * (static_cast<double>(row[i]) - maximum[i]);
  }
}

/// diff = diff * factor - smoothing * w_c; where factor is 0 (ignored) 0, whatever diff was.
LOCKSTEP_VECTORIZE void scale_pixels(const CrossEntropyRule& rule, int64_t n, int64_t stride,
                                     const float* factor, float* diff) {
  for (int64_t c = 0; c < rule.k; ++c, diff += stride) {
    const float weight = rule.class_weights ? rule.class_weights[c] : 1.0f;
    const float subtracted = static_cast<float>(rule.smoothing_factor) * weight;
    for (int64_t i = 0; i < n; ++i) diff[i] = factor[i] != 0.0f ? diff[i] * factor[i] - subtracted : 0.0f;
  }
}

}  // namespace

LossSums pixel_cross_entropy(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                             const int64_t* target, float* diff) {
  float maximum[kPixelBlock], scale[kPixelBlock];
  int32_t first[kPixelBlock];
  double sum[kPixelBlock], smooth[kPixelBlock];
  pixel_maxima(rule.k, n, stride, x, maximum, first);
  const bool smooths = rule.smoothing_factor > 0;
  pixel_sums(rule, n, stride, x, maximum, diff, sum, smooths ? smooth : nullptr);
  LossSums total;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = target[i];
    scale[i] = 0.0f;
    if (rule.ignore && t == *rule.ignore) continue;
    if (!is_class(rule, t)) {
      total += not_a_class();
      continue;
    }
    const double weight = rule.class_weight(t), factor = rule.target_factor * weight;
    double loss = factor * (std::log(sum[i]) - (static_cast<double>(x[t * stride + i]) - maximum[i]));
    if (smooths) loss += rule.smoothing_factor * (rule.weights_total * std::log(sum[i]) - smooth[i]);
    total += {loss, first[i] == t ? 1.0 : 0.0, 1.0, weight};
    scale[i] = static_cast<float>((factor + rule.smoothing_factor * rule.weights_total) / sum[i]);
  }
  if (diff) {
    scale_pixels(rule, n, stride, scale, diff);
    for (int64_t i = 0; i < n; ++i) {
      if (scale[i] == 0.0f) continue;
      diff[target[i] * stride + i] -= static_cast<float>(rule.target_factor * rule.class_weight(target[i]));
    }
  }
  return total;
}

}  // namespace lockstep::cpu
