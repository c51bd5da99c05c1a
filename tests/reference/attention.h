// Naive float64 attention, one query after another, by the equations of kernels/attention.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

namespace lockstep::reference {

struct Attention {
  int64_t n, queries, keys, features, heads;
  std::vector<double> q, k, v;  // (n, queries or keys, features)
  /// Whether a query takes part, and sees a key: (sample, query, key).
  std::function<bool(int64_t, int64_t, int64_t)> sees;
  /// Factor of dropout of a weight: (sample, head, query, key).
  std::function<double(int64_t, int64_t, int64_t, int64_t)> keeps = [](auto...) { return 1.0; };

  struct Result {
    std::vector<double> context, weights;  // weights before dropout
  };
  struct Gradients {
    std::vector<double> q, k, v;
  };

  Result forward() const {
    Result result{std::vector<double>(n * queries * features),
                  std::vector<double>(n * heads * queries * keys)};
    for_queries([&](int64_t b, int64_t h, int64_t i) {
      double* weights = &result.weights[((b * heads + h) * queries + i) * keys];
      double total = 0;
      for (int64_t j = 0; j < keys; ++j)
        if (sees(b, i, j))
          total += weights[j] = std::exp(dot(q, at(b, i, queries, h), k, at(b, j, keys, h)) * scale());
      for (int64_t j = 0; j < keys; ++j) {
        if (!sees(b, i, j)) continue;
        weights[j] /= total;
        for (int64_t c = 0; c < width(); ++c)
          result.context[at(b, i, queries, h) + c] +=
              weights[j] * keeps(b, h, i, j) * v[at(b, j, keys, h) + c];
      }
    });
    return result;
  }

  Gradients backward(const std::vector<double>& diff_context) const {
    const Result result = forward();
    Gradients g{std::vector<double>(q.size()), std::vector<double>(k.size()), std::vector<double>(v.size())};
    for_queries([&](int64_t b, int64_t h, int64_t i) {
      const double* weights = &result.weights[((b * heads + h) * queries + i) * keys];
      const int64_t of_query = at(b, i, queries, h);
      std::vector<double> diff(keys);
      double mean = 0;
      for (int64_t j = 0; j < keys; ++j) {
        if (!sees(b, i, j)) continue;
        diff[j] = dot(diff_context, of_query, v, at(b, j, keys, h)) * keeps(b, h, i, j);
        mean += diff[j] * weights[j];
      }
      for (int64_t j = 0; j < keys; ++j) {
        if (!sees(b, i, j)) continue;
        const double diff_score = weights[j] * (diff[j] - mean) * scale();
        for (int64_t c = 0; c < width(); ++c) {
          const int64_t of_key = at(b, j, keys, h) + c;
          g.q[of_query + c] += diff_score * k[of_key];
          g.k[of_key] += diff_score * q[of_query + c];
          g.v[of_key] += weights[j] * keeps(b, h, i, j) * diff_context[of_query + c];
        }
      }
    });
    return g;
  }

 private:
  int64_t width() const { return features / heads; }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(width())); }
  int64_t at(int64_t b, int64_t row, int64_t rows, int64_t h) const {
    return (b * rows + row) * features + h * width();
  }
  double dot(const std::vector<double>& a, int64_t i, const std::vector<double>& b, int64_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < width(); ++c) sum += a[i + c] * b[j + c];
    return sum;
  }
  template <typename Body>
  void for_queries(const Body& body) const {
    for (int64_t b = 0; b < n; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < queries; ++i) body(b, h, i);
  }
};

}  // namespace lockstep::reference
