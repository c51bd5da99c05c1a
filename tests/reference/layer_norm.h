// Naive float64 layer normalisation of rows (n_rows, n), the first n_valid of which count; see
// kernels/layer_norm.h. The gradient is that of the definition by the chain rule.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep::reference {

struct LayerNorm {
  int64_t n_rows, n, n_valid;
  double epsilon;
  std::vector<double> src, weight, bias;  // weight and bias: (n), 1 and 0 if not affine

  struct Gradients {
    std::vector<double> src, weight, bias;
  };

  double mean(int64_t row) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += src[row * n + i];
    return sum / static_cast<double>(n);
  }
  double deviation(int64_t row) const {
    const double m = mean(row);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += (src[row * n + i] - m) * (src[row * n + i] - m);
    return std::sqrt(sum / static_cast<double>(n) + epsilon);
  }

  std::vector<double> forward() const {
    std::vector<double> dst(src.size());
    for (int64_t row = 0; row < n_valid; ++row) {
      const double m = mean(row), d = deviation(row);
      for (int64_t i = 0; i < n; ++i) dst[row * n + i] = (src[row * n + i] - m) / d * weight[i] + bias[i];
    }
    return dst;
  }

  Gradients backward(const std::vector<double>& diff_dst) const {
    Gradients g{std::vector<double>(src.size()), std::vector<double>(n), std::vector<double>(n)};
    for (int64_t row = 0; row < n_valid; ++row) {
      const double m = mean(row), d = deviation(row), total = static_cast<double>(n);
      double to_mean = 0, to_variance = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double y = diff_dst[row * n + i], x = src[row * n + i] - m;
        g.weight[i] += y * x / d;
        g.bias[i] += y;
        to_mean -= y * weight[i] / d;
        to_variance += y * weight[i] * x * -0.5 / (d * d * d);
      }
      for (int64_t i = 0; i < n; ++i)
        g.src[row * n + i] = diff_dst[row * n + i] * weight[i] / d +
                             to_variance * 2 * (src[row * n + i] - m) / total + to_mean / total;
    }
    return g;
  }
};

}  // namespace lockstep::reference
