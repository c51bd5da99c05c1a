// Naive float64 batch normalisation over dense rows (n, channels, spatial); see kernels/batch_norm.h.
// The gradient is that of the definition by the chain rule, through mean and variance.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace lockstep::reference {

struct BatchNorm {
  int64_t n, channels, spatial;
  int64_t n_valid;
  double epsilon = 1e-5;
  bool relu = false;
  std::vector<double> src, weight, bias;  // weight and bias: (channels), 1 and 0 if not affine
  std::vector<double> residual;           // empty: none
  double high = std::numeric_limits<double>::infinity();  // upper bound, 6 for relu6
  double (*stored)(double) = nullptr;  // how dst is rounded; with a residual, the bounds judge that

  struct Gradients {
    std::vector<double> src, residual, weight, bias, running_mean, running_var;
  };

  /// Calls visit(index) for each element of channel c in valid rows.
  template <typename Visit>
  void for_channel(int64_t c, const Visit& visit) const {
    for (int64_t row = 0; row < n_valid; ++row)
      for (int64_t i = 0; i < spatial; ++i) visit((row * channels + c) * spatial + i);
  }
  double count() const { return static_cast<double>(n_valid * spatial); }
  double mean(int64_t c) const {
    double sum = 0;
    for_channel(c, [&](int64_t i) { sum += src[i]; });
    return sum / count();
  }
  double variance(int64_t c) const {
    const double m = mean(c);
    double sum = 0;
    for_channel(c, [&](int64_t i) { sum += (src[i] - m) * (src[i] - m); });
    return sum / count();
  }

  /// With statistics of the batch, or with those given.
  std::vector<double> forward(const std::vector<double>* means = nullptr,
                              const std::vector<double>* variances = nullptr) const {
    std::vector<double> dst(src.size());
    for (int64_t c = 0; c < channels; ++c) {
      const double m = means ? (*means)[c] : mean(c), v = variances ? (*variances)[c] : variance(c);
      for_channel(c, [&](int64_t i) {
        double y = (src[i] - m) / std::sqrt(v + epsilon) * weight[c] + bias[c];
        if (!residual.empty()) y += residual[i];
        dst[i] = relu ? std::min(high, std::max(0.0, y)) : y;
      });
    }
    return dst;
  }

  Gradients backward(const std::vector<double>& diff_dst) const {
    const std::vector<double> dst = forward();
    Gradients g;
    g.src.resize(src.size());
    g.residual.resize(src.size());
    for (int64_t c = 0; c < channels; ++c) {
      const double m = mean(c), v = variance(c), deviation = std::sqrt(v + epsilon), total = count();
      double weight_sum = 0, bias_sum = 0, to_mean = 0, to_variance = 0;
      for_channel(c, [&](int64_t i) {
        const double y = stored && !residual.empty() ? stored(dst[i]) : dst[i];
        const double d = relu && (y <= 0 || y >= high) ? 0 : diff_dst[i];
        g.residual[i] = d;
        weight_sum += d * (src[i] - m) / deviation;
        bias_sum += d;
        to_variance += d * weight[c] * (src[i] - m) * -0.5 / (deviation * deviation * deviation);
        to_mean -= d * weight[c] / deviation;
      });
      for_channel(c, [&](int64_t i) {
        g.src[i] =
            g.residual[i] * weight[c] / deviation + to_variance * 2 * (src[i] - m) / total + to_mean / total;
      });
      g.weight.push_back(weight_sum);
      g.bias.push_back(bias_sum);
      g.running_mean.push_back(static_cast<double>(n_valid) * m);
      g.running_var.push_back(static_cast<double>(n_valid) * v * (total > 1 ? total / (total - 1) : 1));
    }
    return g;
  }
};

}  // namespace lockstep::reference
