// Updates by norms of whole parameters on the CPU, in two passes; what the first one sums stays in the cache.
#include "kernels/norm_update.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cpu/square_sums.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

/// What does not change from element to element.
struct NormScalars {
  float scale, shrink, decay, ratio;
};

/// u (n) = what the formula's norm is of; a, b: the states. kept (n): the weights after decoupled decay.
template <typename Formula>
LOCKSTEP_INLINE void first_pass(const NormScalars& with, const Formula& of, int64_t n,
                                const float* __restrict grad, const float* __restrict weights,
                                float* __restrict a, float* __restrict b, float* __restrict u,
                                float* __restrict kept) {
  const NormScalars k = with;
  const Formula formula = of;
  for (int64_t i = 0; i < n; ++i) {
    float s[2] = {};
    if constexpr (!Formula::kStatesInSecond) {
      s[0] = a[i];
      s[1] = b[i];
    }
    const float w = weights[i] - k.shrink * weights[i];
    kept[i] = w;
    u[i] = formula.first(w, grad[i] * k.scale, k.decay, s);
    if constexpr (!Formula::kStatesInSecond) {
      a[i] = s[0];
      b[i] = s[1];
    }
  }
}

template <typename Formula>
LOCKSTEP_INLINE void second_pass(const NormScalars& with, const Formula& of, int64_t n,
                                 const float* __restrict grad, float* __restrict weights, float* __restrict a,
                                 const float* __restrict b) {
  const NormScalars k = with;
  const Formula formula = of;
  for (int64_t i = 0; i < n; ++i) {
    float s[2] = {a[i], 0};
    const float w = weights[i];
    float g = 0;
    if constexpr (Formula::kStatesInSecond)
      g = grad[i] * k.scale;
    else
      s[1] = b[i];
    weights[i] = formula.second(w - k.shrink * w, g, k.decay, k.ratio, s);
    if constexpr (Formula::kStatesInSecond) a[i] = s[0];
  }
}

LOCKSTEP_VECTORIZE void lamb_first(const NormScalars& k, const LambFormula& formula, int64_t n,
                                   const float* grad, const float* weights, float* m, float* v, float* u,
                                   float* kept) {
  first_pass(k, formula, n, grad, weights, m, v, u, kept);
}
LOCKSTEP_VECTORIZE void lamb_second(const NormScalars& k, const LambFormula& formula, int64_t n,
                                    float* weights, float* m, const float* v) {
  second_pass(k, formula, n, nullptr, weights, m, v);
}
LOCKSTEP_VECTORIZE void lars_first(const NormScalars& k, const LarsFormula& formula, int64_t n,
                                   const float* grad, const float* weights, float* u, float* kept) {
  first_pass(k, formula, n, grad, weights, nullptr, nullptr, u, kept);
}
LOCKSTEP_VECTORIZE void lars_second(const NormScalars& k, const LarsFormula& formula, int64_t n,
                                    const float* grad, float* weights, float* velocity) {
  second_pass(k, formula, n, grad, weights, velocity, nullptr);
}

LOCKSTEP_VECTORIZE void scale_row(int64_t n, float factor, float* __restrict row) {
  for (int64_t i = 0; i < n; ++i) row[i] *= factor;
}

/// first(begin, n, u, kept) and second(scalars, begin, n) for the chunks of n elements.
template <typename Formula, typename First, typename Second>
void in_two_passes(NormScalars scalars, const Formula& formula, int64_t n, double* sums, const First& first,
                   const Second& second) {
  const int64_t n_chunks = (n + kNormChunk - 1) / kNormChunk;
#pragma omp parallel for schedule(static) if (n_chunks > 8)
  for (int64_t c = 0; c < n_chunks; ++c) {
    float u[kNormChunk], kept[kNormChunk];
    const int64_t begin = c * kNormChunk, count = std::min(kNormChunk, n - begin);
    first(scalars, begin, count, u, kept);
    sums[2 * c] = chunk_sum_of_squares(count, kept);
    sums[2 * c + 1] = chunk_sum_of_squares(count, u);
  }
  double of_weights = 0, of_u = 0;
  for (int64_t c = 0; c < n_chunks; ++c) {
    of_weights += sums[2 * c];
    of_u += sums[2 * c + 1];
  }
  scalars.ratio = static_cast<float>(formula.ratio(of_weights, of_u, scalars.decay));
#pragma omp parallel for schedule(static) if (n_chunks > 8)
  for (int64_t c = 0; c < n_chunks; ++c) {
    const int64_t begin = c * kNormChunk;
    second(scalars, begin, std::min(kNormChunk, n - begin));
  }
}

NormScalars scalars_of(const NormUpdate& update) {
  return {update.grad_scale, static_cast<float>(update.decoupled), update.weight_decay, 1};
}

}  // namespace

void norm_update(Stream&, const NormUpdate& update, const LambFormula& formula, int64_t n, const float* grad,
                 float* weights, std::span<float* const> states, double* scratch) {
  float *m = states[0], *v = states[1];
  in_two_passes(
      scalars_of(update), formula, n, scratch,
      [&](const NormScalars& k, int64_t begin, int64_t count, float* u, float* kept) {
        lamb_first(k, formula, count, grad + begin, weights + begin, m + begin, v + begin, u, kept);
      },
      [&](const NormScalars& k, int64_t begin, int64_t count) {
        lamb_second(k, formula, count, weights + begin, m + begin, v + begin);
      });
}

void norm_update(Stream&, const NormUpdate& update, const LarsFormula& formula, int64_t n, const float* grad,
                 float* weights, std::span<float* const> states, double* scratch) {
  float* velocity = states[0];
  in_two_passes(
      scalars_of(update), formula, n, scratch,
      [&](const NormScalars& k, int64_t begin, int64_t count, float* u, float* kept) {
        lars_first(k, formula, count, grad + begin, weights + begin, u, kept);
      },
      [&](const NormScalars& k, int64_t begin, int64_t count) {
        lars_second(k, formula, count, grad + begin, weights + begin, velocity + begin);
      });
}

void limit_row_norms(Stream& stream, int64_t rows, int64_t columns, float most, float* weights) {
#pragma omp parallel for schedule(static) if (rows * columns > (1 << 15))
  for (int64_t r = 0; r < rows; ++r) {
    float* row = weights + r * columns;
    const double norm = std::sqrt(sum_of_squares(stream, columns, row));
    if (norm > double{most}) scale_row(columns, static_cast<float>(double{most} / (norm + 1e-7)), row);
  }
}

}  // namespace lockstep::cpu
