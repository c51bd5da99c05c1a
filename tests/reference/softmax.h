// Naive float64 softmax over rows of k, and its backward pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep::reference {

inline std::vector<double> softmax(std::vector<double> x, int64_t k) {
  for (auto row = x.begin(); row != x.end(); row += k) {
    const double maximum = *std::max_element(row, row + k);
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += std::exp(row[j] - maximum);
    for (int64_t j = 0; j < k; ++j) row[j] = std::exp(row[j] - maximum) / sum;
  }
  return x;
}

/// diff_src_i = sum_j diff_dst_j y_j ([i = j] - y_i), written out.
inline std::vector<double> softmax_backward(const std::vector<double>& x, const std::vector<double>& diff_dst,
                                            int64_t k) {
  const std::vector<double> y = softmax(x, k);
  std::vector<double> diff_src(x.size(), 0.0);
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(k))
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j)
        diff_src[row + i] += diff_dst[row + j] * y[row + j] * ((i == j ? 1 : 0) - y[row + i]);
  return diff_src;
}

}  // namespace lockstep::reference
