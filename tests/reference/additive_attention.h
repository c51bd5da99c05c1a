// Naive float64 additive attention of one sample after another, by the equations of
// kernels/additive_attention.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep::reference {

struct AdditiveAttention {
  int64_t n, steps, features, width;
  std::vector<double> query, keys, values, v;
  std::vector<int64_t> lengths;  // of all rows

  struct Result {
    std::vector<double> context, weights;
  };
  Result forward() const {
    Result result{std::vector<double>(n * width), std::vector<double>(n * steps)};
    for (int64_t row = 0; row < n; ++row) {
      double total = 0;
      for (int64_t s = 0; s < lengths[row]; ++s) {
        double score = 0;
        for (int64_t a = 0; a < features; ++a)
          score += v[a] * std::tanh(query[row * features + a] + keys[(row * steps + s) * features + a]);
        result.weights[row * steps + s] = std::exp(score);
        total += std::exp(score);
      }
      for (int64_t s = 0; s < lengths[row]; ++s) {
        double& weight = result.weights[row * steps + s];
        weight /= total;
        for (int64_t e = 0; e < width; ++e)
          result.context[row * width + e] += weight * values[(row * steps + s) * width + e];
      }
    }
    return result;
  }
};

}  // namespace lockstep::reference
