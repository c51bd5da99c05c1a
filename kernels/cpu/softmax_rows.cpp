// See softmax_rows.h.
#include "kernels/cpu/softmax_rows.h"

#include <cstring>
#include <limits>

#include "kernels/cpu/vector_math.h"

namespace lockstep::cpu {

namespace {

/// Adds exp(x_j - maximum) of one block of 16; kStore also writes them to e.
template <bool kStore>
LOCKSTEP_INLINE void exponential_block(const float* x, float maximum, double* lanes, float* e) {
  float value[kSumLanes];
  for (int lane = 0; lane < kSumLanes; ++lane) value[lane] = exp_nonpositive(x[lane] - maximum);
  for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += value[lane];
  if constexpr (kStore) std::memcpy(e, value, sizeof(value));
}

/// sum_j exp(x_j - maximum); kStore: also each term, to e (k).
template <bool kStore>
LOCKSTEP_INLINE double exponential_sum(int64_t k, const float* x, float maximum, float* e) {
  double lanes[kSumLanes] = {};
  int64_t j = 0;
  for (; j + kSumLanes <= k; j += kSumLanes)
    exponential_block<kStore>(x + j, maximum, lanes, e + (kStore ? j : 0));
  if (j < k) {  // the rest, filled up with exp(-inf) = 0
    float rest[kSumLanes], terms[kSumLanes];
    for (float& r : rest) r = -std::numeric_limits<float>::infinity();
    std::memcpy(rest, x + j, static_cast<size_t>(k - j) * sizeof(float));
    exponential_block<kStore>(rest, maximum, lanes, terms);
    if constexpr (kStore) std::memcpy(e + j, terms, static_cast<size_t>(k - j) * sizeof(float));
  }
  return tree_sum(lanes);
}

}  // namespace

LOCKSTEP_VECTORIZE float row_maximum(int64_t k, const float* x) {
  float lanes[kSumLanes];
  for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] = x[0];
  int64_t j = 0;
  for (; j + kSumLanes <= k; j += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane)
      lanes[lane] = x[j + lane] > lanes[lane] ? x[j + lane] : lanes[lane];
  for (; j < k; ++j) lanes[0] = x[j] > lanes[0] ? x[j] : lanes[0];
  for (int width = kSumLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane + width] > lanes[lane] ? lanes[lane + width] : lanes[lane];
  return lanes[0];
}

LOCKSTEP_VECTORIZE double exponentials(int64_t k, const float* x, float maximum, float* e) {
  return exponential_sum<true>(k, x, maximum, e);
}
LOCKSTEP_VECTORIZE double sum_of_exponentials(int64_t k, const float* x, float maximum) {
  return exponential_sum<false>(k, x, maximum, nullptr);
}
LOCKSTEP_VECTORIZE void scale_row(int64_t k, float factor, float* x) {
  for (int64_t j = 0; j < k; ++j) x[j] *= factor;
}

LOCKSTEP_VECTORIZE bool is_first_maximum(int64_t index, const float* x, float maximum) {
  if (x[index] != maximum) return false;
  int earlier = 0;
  for (int64_t j = 0; j < index; ++j) earlier |= x[j] == maximum;
  return earlier == 0;
}

}  // namespace lockstep::cpu
