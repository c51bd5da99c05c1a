// Naive float64 affine map: src (n, i), weights (o, i), bias (o), dst (n, o).
#pragma once

#include <cstdint>
#include <vector>

#include "tests/reference/activation.h"

namespace lockstep::reference {

struct Affine {
  int64_t n, in, out;
  std::vector<double> src, weights, bias;  // bias empty: none

  /// src · weights^T + bias, before the activation
  std::vector<double> sums() const {
    std::vector<double> result(n * out);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t o = 0; o < out; ++o) {
        double sum = bias.empty() ? 0 : bias[o];
        for (int64_t i = 0; i < in; ++i) sum += src[r * in + i] * weights[o * in + i];
        result[r * out + o] = sum;
      }
    return result;
  }

  struct Gradients {
    std::vector<double> src, weights, bias;
  };
  /// diff: gradient with respect to sums()
  Gradients backward(const std::vector<double>& diff) const {
    Gradients g{std::vector<double>(n * in), std::vector<double>(out * in), std::vector<double>(out)};
    for (int64_t r = 0; r < n; ++r)
      for (int64_t o = 0; o < out; ++o) {
        const double d = diff[r * out + o];
        g.bias[o] += d;
        for (int64_t i = 0; i < in; ++i) {
          g.src[r * in + i] += d * weights[o * in + i];
          g.weights[o * in + i] += d * src[r * in + i];
        }
      }
    return g;
  }
};

}  // namespace lockstep::reference
