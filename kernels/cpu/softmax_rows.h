// One row of a softmax, in pieces: the maximum, exp(x_j - maximum), their sum. Sums run in float64,
// column j in lane j % 16, lanes added as a tree: bits depend on the shape alone.
#pragma once

#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

constexpr int kSumLanes = 16;

template <typename T>
LOCKSTEP_INLINE T tree_sum(T* lanes) {
  for (int width = kSumLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

/// The sum of term(j) over j < k, in lanes.
template <typename Term>
LOCKSTEP_INLINE double lane_sum(int64_t k, const Term& term) {
  double lanes[kSumLanes] = {};
  int64_t j = 0;
  for (; j + kSumLanes <= k; j += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += term(j + lane);
  for (int lane = 0; j + lane < k; ++lane) lanes[lane] += term(j + lane);
  return tree_sum(lanes);
}

/// The largest of k >= 1 values; any value if one of them is NaN.
float row_maximum(int64_t k, const float* x);
/// sum_j exp(x_j - maximum), and each term to e (k).
double exponentials(int64_t k, const float* x, float maximum, float* e);
/// The same sum without the terms.
double sum_of_exponentials(int64_t k, const float* x, float maximum);
/// x *= factor
void scale_row(int64_t k, float factor, float* x);
/// True if element `index` is the first maximum.
bool is_first_maximum(int64_t index, const float* x, float maximum);

}  // namespace lockstep::cpu
