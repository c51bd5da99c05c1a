// Naive float64 losses over rows: the sum over the first n_valid rows of (n, k), and its gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep::reference {

struct LossResult {
  double loss = 0;
  int64_t n_correct = 0;
  std::vector<double> diff;  // (n, k); padding rows 0
};

/// Row loss log(sum_j exp(x_j)) - x_target, the maximum subtracted; correct: the first maximum
/// is the target.
inline LossResult softmax_cross_entropy(const std::vector<double>& x, const std::vector<double>& targets,
                                        int64_t k, int64_t n_valid) {
  LossResult result;
  result.diff.resize(x.size());
  for (int64_t row = 0; row < n_valid; ++row) {
    const double* begin = x.data() + row * k;
    const int64_t target = static_cast<int64_t>(targets[row]);
    const double* maximum = std::max_element(begin, begin + k);  // the first one
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += std::exp(begin[j] - *maximum);
    result.loss += std::log(sum) - (begin[target] - *maximum);
    result.n_correct += maximum == begin + target;
    for (int64_t j = 0; j < k; ++j)
      result.diff[row * k + j] = std::exp(begin[j] - *maximum) / sum - (j == target ? 1 : 0);
  }
  return result;
}

/// Row loss: sum of squared differences times 1/2 if `half`, divided by k if `mean`.
inline LossResult l2_loss(const std::vector<double>& prediction, const std::vector<double>& target, int64_t k,
                          int64_t n_valid, bool half, bool mean) {
  LossResult result;
  result.diff.resize(prediction.size());
  const double factor = (half ? 0.5 : 1.0) / (mean ? static_cast<double>(k) : 1.0);
  for (int64_t i = 0; i < n_valid * k; ++i) {
    const double difference = prediction[i] - target[i];
    result.loss += factor * difference * difference;
    result.diff[i] = 2 * factor * difference;
  }
  return result;
}

}  // namespace lockstep::reference
