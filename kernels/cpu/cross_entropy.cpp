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

bool is_ignored(const CrossEntropyRule& rule, int64_t target) {
  return rule.ignore && target == *rule.ignore;
}

/// A label that is no class is a bug, which must show.
LossSums not_a_class() { return {std::numeric_limits<double>::quiet_NaN(), 0, 1, 1}; }

/// diff = scale (exp(x - maximum) factor - smoothing w), w null: 1; element by element, diff may be x.
LOCKSTEP_VECTORIZE void exponential_gradients(int64_t k, KeptPlace kept, float smoothing,
                                              const float* class_weights, float scale, const float* x,
                                              float* diff) {
  const float maximum = kept.maximum, factor = kept.factor;
  if (smoothing == 0.0f) {
#pragma GCC ivdep
    for (int64_t j = 0; j < k; ++j) diff[j] = scale * (exp_nonpositive(x[j] - maximum) * factor);
  } else if (class_weights) {
#pragma GCC ivdep
    for (int64_t j = 0; j < k; ++j)
      diff[j] = scale * (exp_nonpositive(x[j] - maximum) * factor - smoothing * class_weights[j]);
  } else {
#pragma GCC ivdep
    for (int64_t j = 0; j < k; ++j) diff[j] = scale * (exp_nonpositive(x[j] - maximum) * factor - smoothing);
  }
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

LossSums row_cross_entropy(const CrossEntropyRule& rule, const float* x, int64_t target, KeptPlace* kept) {
  const int64_t k = rule.k;
  if (is_ignored(rule, target)) {
    if (kept) *kept = {};
    return {};
  }
  const float maximum = row_maximum(k, x);
  const double weight = is_class(rule, target) ? rule.class_weight(target) : 1.0;
  const double factor = rule.target_factor * weight;
  const double sum = sum_of_exponentials(k, x, maximum);
  if (kept)
    *kept = {maximum, static_cast<float>((factor + rule.smoothing_factor * rule.weights_total) / sum)};
  if (!is_class(rule, target)) return not_a_class();
  double loss = factor * (std::log(sum) - (static_cast<double>(x[target]) - maximum));
  if (rule.smoothing_factor > 0)
    loss += rule.smoothing_factor *
            (rule.weights_total * std::log(sum) - weighted_distance(k, rule.class_weights, x, maximum));
  return {loss, is_first_maximum(target, x, maximum) ? 1.0 : 0.0, 1.0, weight};
}

void row_gradient(const CrossEntropyRule& rule, const float* x, int64_t target, KeptPlace kept, float scale,
                  float* diff) {
  if (is_ignored(rule, target)) {
    std::fill_n(diff, rule.k, 0.0f);
    return;
  }
  const auto smoothing = static_cast<float>(rule.smoothing_factor);
  float of_target = 0.0f;
  if (is_class(rule, target)) {
    of_target = exp_nonpositive(x[target] - kept.maximum) * kept.factor;
    of_target -= static_cast<float>(rule.target_factor * rule.class_weight(target));
    if (smoothing > 0.0f) of_target -= smoothing * static_cast<float>(rule.class_weight(target));
  }
  exponential_gradients(rule.k, kept, smoothing, rule.class_weights, scale, x, diff);
  if (is_class(rule, target)) diff[target] = scale * of_target;
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

/// sum[i] = sum_c exp(x_c - maximum); with `smooth`: smooth[i] = sum_c w_c (x_c - maximum).
LOCKSTEP_VECTORIZE void pixel_sums(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                                   const float* maximum, double* sum, double* smooth) {
  std::fill_n(sum, n, 0.0);
  if (smooth) std::fill_n(smooth, n, 0.0);
  for (int64_t c = 0; c < rule.k; ++c) {
    const float* row = x + c * stride;
    float terms[kPixelBlock];
    for (int64_t i = 0; i < n; ++i) terms[i] = exp_nonpositive(row[i] - maximum[i]);
    for (int64_t i = 0; i < n; ++i) sum[i] += terms[i];
    if (!smooth) continue;
    const double weight = rule.class_weights ? rule.class_weights[c] : 1.0;
    for (int64_t i = 0; i < n; ++i) smooth[i] += weight * (static_cast<double>(row[i]) - maximum[i]);
  }
}

/// diff = scale (exp(x - maximum) factor - smoothing * w_c); where factor is 0 (ignored) 0, whatever x is.
LOCKSTEP_VECTORIZE void exponential_pixels(const CrossEntropyRule& rule, int64_t n, int64_t stride,
                                           const float* maximum, const float* factor, float scale,
                                           const float* x, float* diff) {
  for (int64_t c = 0; c < rule.k; ++c, x += stride, diff += stride) {
    const float weight = rule.class_weights ? rule.class_weights[c] : 1.0f;
    const float subtracted = static_cast<float>(rule.smoothing_factor) * weight;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const float g = exp_nonpositive(x[i] - maximum[i]) * factor[i] - subtracted;
      diff[i] = factor[i] != 0.0f ? scale * g : 0.0f;
    }
  }
}

}  // namespace

LossSums pixel_cross_entropy(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                             const int64_t* target, KeptPlace* kept) {
  float maximum[kPixelBlock];
  int32_t first[kPixelBlock];
  double sum[kPixelBlock], smooth[kPixelBlock];
  pixel_maxima(rule.k, n, stride, x, maximum, first);
  const bool smooths = rule.smoothing_factor > 0;
  pixel_sums(rule, n, stride, x, maximum, sum, smooths ? smooth : nullptr);
  LossSums total;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = target[i];
    if (kept) kept[i] = {};
    if (is_ignored(rule, t)) continue;
    if (!is_class(rule, t)) {
      total += not_a_class();
      continue;
    }
    const double weight = rule.class_weight(t), factor = rule.target_factor * weight;
    double loss = factor * (std::log(sum[i]) - (static_cast<double>(x[t * stride + i]) - maximum[i]));
    if (smooths) loss += rule.smoothing_factor * (rule.weights_total * std::log(sum[i]) - smooth[i]);
    total += {loss, first[i] == t ? 1.0 : 0.0, 1.0, weight};
    if (kept)
      kept[i] = {maximum[i],
                 static_cast<float>((factor + rule.smoothing_factor * rule.weights_total) / sum[i])};
  }
  return total;
}

void pixel_gradients(const CrossEntropyRule& rule, int64_t n, int64_t stride, const float* x,
                     const int64_t* target, const KeptPlace* kept, float scale, float* diff) {
  float maximum[kPixelBlock] = {}, factor[kPixelBlock] = {}, of_target[kPixelBlock];
  for (int64_t i = 0; i < n; ++i) {
    maximum[i] = kept[i].maximum;
    factor[i] = kept[i].factor;
    if (factor[i] == 0.0f) continue;
    const int64_t t = target[i];
    const float weight = rule.class_weights ? rule.class_weights[t] : 1.0f;
    of_target[i] = exp_nonpositive(x[t * stride + i] - maximum[i]) * factor[i] -
                   static_cast<float>(rule.smoothing_factor) * weight;
    of_target[i] -= static_cast<float>(rule.target_factor * rule.class_weight(t));
  }
  exponential_pixels(rule, n, stride, maximum, factor, scale, x, diff);
  for (int64_t i = 0; i < n; ++i)
    if (factor[i] != 0.0f) diff[target[i] * stride + i] = scale * of_target[i];
}

}  // namespace lockstep::cpu
