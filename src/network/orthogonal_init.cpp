// Orthogonal weights (Saxe et al. 2014), as PyTorch and Keras make them: the orthogonal factor of a matrix of
// normal draws, with the signs that make the other factor's diagonal positive, so that it is uniform among
// all. A tensor of more dimensions is a matrix of its first extent's rows. By Householder's reflections in
// float64, in one order: the same bits everywhere.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/network/init.h"

namespace lockstep {

namespace {

using Column = std::vector<double>;

/// a (m, n), from row and column k on: a -= beta v (v^T a).
void reflect(int64_t m, int64_t n, int64_t k, double beta, const Column& v, Column& a, Column& sums) {
  std::fill(sums.begin(), sums.end(), 0.0);
  for (int64_t i = k; i < m; ++i)
    for (int64_t j = k; j < n; ++j) sums[j] += v[i] * a[i * n + j];
  for (int64_t i = k; i < m; ++i)
    for (int64_t j = k; j < n; ++j) a[i * n + j] -= beta * v[i] * sums[j];
}

/// The factor Q (m, n) of a (m, n), m >= n, times the signs of R's diagonal.
Column orthogonal_factor(int64_t m, int64_t n, Column a) {
  std::vector<Column> reflections(static_cast<size_t>(n), Column(static_cast<size_t>(m)));
  Column betas(static_cast<size_t>(n)), signs(static_cast<size_t>(n)), sums(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    Column& v = reflections[k];
    double square = 0;
    for (int64_t i = k; i < m; ++i) {
      v[i] = a[i * n + k];
      square += v[i] * v[i];
    }
    const double diagonal = v[k] > 0 ? -std::sqrt(square) : std::sqrt(square);  // of R: no cancellation
    signs[k] = diagonal < 0 ? -1 : 1;
    v[k] -= diagonal;
    double of_v = 0;
    for (int64_t i = k; i < m; ++i) of_v += v[i] * v[i];
    betas[k] = of_v > 0 ? 2 / of_v : 0;
    reflect(m, n, k, betas[k], v, a, sums);
  }
  Column q(static_cast<size_t>(m * n));
  for (int64_t k = 0; k < n; ++k) q[k * n + k] = 1;
  for (int64_t k = n - 1; k >= 0; --k) reflect(m, n, k, betas[k], reflections[k], q, sums);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) q[i * n + j] *= signs[j];
  return q;
}

const bool orthogonal_registered = initialisers().add(
    "orthogonal",
    [](Config& options) {
      options.positional("gain");
      const double gain = options.get_double("gain", 1);
      if (!(gain > 0 && std::isfinite(gain)))
        throw options.error_at("gain", fmt::format("must be above 0, found {}", gain),
                               "for instance gain: 1.414");
      InitSpec init;
      // What has one row, or is a bias, has no right angles.
      init.draw = [](double, double) { return InitDraw(); };
      init.fill = [=](const Shape& shape, const RandomStream& random, float* weights) {
        const int64_t rows = shape[0], columns = rows > 0 ? shape.n_elements() / rows : 0;
        const int64_t m = std::max(rows, columns), n = std::min(rows, columns);
        Column a(static_cast<size_t>(m * n));
        for (int64_t i = 0; i < m * n; ++i) a[i] = random.normal(static_cast<uint64_t>(i));
        const Column q = orthogonal_factor(m, n, std::move(a));
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < columns; ++c)
            weights[r * columns + c] =
                static_cast<float>(gain * (rows >= columns ? q[r * n + c] : q[c * n + r]));
      };
      return init;
    },
    12);

}  // namespace

}  // namespace lockstep
