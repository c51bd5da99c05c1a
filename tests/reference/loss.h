// Naive float64 losses: the sum over the first n_valid samples, its gradient and its counts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/loss.h"

namespace lockstep::reference {

struct LossResult {
  double loss = 0;
  double n_correct = 0, n_counted = 0, weight_sum = 0;
  std::vector<double> diff;  // as the prediction; padding 0
  std::vector<double> values() const { return {loss, n_correct, n_counted, weight_sum}; }
};

/// x (n, k, places), or (n, places, k) where the desc says classes_last; targets (n, places).
inline LossResult cross_entropy(const SoftmaxCrossEntropyDesc& desc, const std::vector<double>& x,
                                const std::vector<double>& targets, int64_t n_valid) {
  const Shape& shape = desc.prediction.shape;
  const int64_t k = shape[desc.classes_last ? shape.rank() - 1 : 1],
                places = shape.n_elements() / shape[0] / k;
  const auto at = [&](int64_t n, int64_t place, int64_t c) {
    return desc.classes_last ? (n * places + place) * k + c : (n * k + c) * places + place;
  };
  const auto weight = [&](int64_t c) { return desc.class_weights.empty() ? 1.0 : desc.class_weights[c]; };
  LossResult result;
  result.diff.resize(x.size());
  for (int64_t n = 0; n < n_valid; ++n)
    for (int64_t place = 0; place < places; ++place) {
      const int64_t target = static_cast<int64_t>(targets[n * places + place]);
      if (desc.ignore && target == *desc.ignore) continue;
      int64_t best = 0;
      for (int64_t c = 1; c < k; ++c)
        if (x[at(n, place, c)] > x[at(n, place, best)]) best = c;
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += std::exp(x[at(n, place, c)] - x[at(n, place, best)]);
      const auto log_p = [&](int64_t c) {
        return x[at(n, place, c)] - x[at(n, place, best)] - std::log(sum);
      };
      // The loss is a sum of -q_c log p_c; its gradient p_j * sum of q - q_j.
      std::vector<double> q(k);
      double q_sum = 0;
      for (int64_t c = 0; c < k; ++c) {
        q[c] = desc.label_smoothing / static_cast<double>(k) * weight(c);
        if (c == target) q[c] += (1 - desc.label_smoothing) * weight(c);
        q[c] *= desc.weight;
        q_sum += q[c];
        if (q[c] != 0) result.loss -= q[c] * log_p(c);
      }
      for (int64_t c = 0; c < k; ++c) result.diff[at(n, place, c)] = q_sum * std::exp(log_p(c)) - q[c];
      result.n_correct += best == target;
      result.n_counted += 1;
      result.weight_sum += weight(target);
    }
  return result;
}

/// Sum over the elements of f(x, t) and of its derivative, divided by k if `mean`.
template <typename Loss, typename Derivative>
LossResult elementwise(const std::vector<double>& x, const std::vector<double>& t, int64_t k, int64_t n_valid,
                       bool mean, double weight, const Loss& loss, const Derivative& derivative) {
  LossResult result;
  result.diff.resize(x.size());
  const double factor = weight / (mean ? static_cast<double>(k) : 1.0);
  for (int64_t i = 0; i < n_valid * k; ++i) {
    result.loss += factor * loss(x[i], t[i]);
    result.diff[i] = factor * derivative(x[i], t[i]);
  }
  result.n_counted = result.weight_sum = static_cast<double>(n_valid);
  return result;
}

inline LossResult l2_loss(const std::vector<double>& x, const std::vector<double>& t, int64_t k,
                          int64_t n_valid, bool half, bool mean, double weight = 1) {
  const double h = half ? 0.5 : 1.0;
  return elementwise(
      x, t, k, n_valid, mean, weight, [h](double a, double b) { return h * (a - b) * (a - b); },
      [h](double a, double b) { return 2 * h * (a - b); });
}

inline LossResult l1_loss(const std::vector<double>& x, const std::vector<double>& t, int64_t k,
                          int64_t n_valid, bool mean, double weight = 1) {
  return elementwise(
      x, t, k, n_valid, mean, weight, [](double a, double b) { return std::abs(a - b); },
      [](double a, double b) { return a > b   ? 1.0
                                      : a < b ? -1.0
                                              : 0.0; });
}

inline LossResult binary_cross_entropy(const std::vector<double>& x, const std::vector<double>& t, int64_t k,
                                       int64_t n_valid, bool mean, double weight = 1) {
  // log(1 + exp(x)) without overflow
  const auto softplus = [](double v) {
    return v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v));
  };
  LossResult result = elementwise(
      x, t, k, n_valid, mean, weight,
      [&](double a, double b) { return b * softplus(-a) + (1 - b) * softplus(a); },
      [](double a, double b) { return 1 / (1 + std::exp(-a)) - b; });
  for (int64_t i = 0; i < n_valid * k; ++i) result.n_correct += (x[i] > 0) == (t[i] > 0.5);
  result.n_counted = static_cast<double>(n_valid * k);
  return result;
}

inline LossResult hinge_loss(const HingeLossDesc& desc, const std::vector<double>& x,
                             const std::vector<double>& targets, int64_t n_valid) {
  const int64_t k = desc.prediction.shape.n_elements() / desc.prediction.shape[0];
  LossResult result;
  result.diff.resize(x.size());
  const double factor = desc.weight / (desc.mean ? static_cast<double>(k) : 1.0);
  for (int64_t n = 0; n < n_valid; ++n) {
    const double* row = x.data() + n * k;
    if (k == 1) {
      const double t = targets[n] > 0 ? 1 : -1;
      result.loss += factor * std::max(0.0, desc.margin - t * row[0]);
      result.diff[n] = desc.margin - t * row[0] > 0 ? -t * factor : 0;
      result.n_correct += (row[0] > 0) == (t > 0);
    } else {
      const int64_t target = static_cast<int64_t>(targets[n]);
      for (int64_t j = 0; j < k; ++j) {
        if (j == target || desc.margin + row[j] - row[target] <= 0) continue;
        result.loss += factor * (desc.margin + row[j] - row[target]);
        result.diff[n * k + j] += factor;
        result.diff[n * k + target] -= factor;
      }
      result.n_correct += std::max_element(row, row + k) == row + target;
    }
  }
  result.n_counted = result.weight_sum = static_cast<double>(n_valid);
  return result;
}

}  // namespace lockstep::reference
