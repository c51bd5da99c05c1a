// The sum of several vectors in the order of the tree: ((v0+v1)+(v2+v3))+…, in one pass over memory.
#pragma once

#include <cstdint>

namespace lockstep {

/// dst[i] = the tree over sources[0..n_sources)[i], i < n_elements. The left group of a sum is the largest
/// power of two smaller than the group: three vectors give (v0+v1)+v2. dst may be one of the sources.
/// T: float or double.
template <typename T>
void tree_sum(const T* const* sources, int n_sources, T* dst, int64_t n_elements);

/// The same with every sum of two rounded to bfloat16.
void tree_sum_bfloat16(const float* const* sources, int n_sources, float* dst, int64_t n_elements);

}  // namespace lockstep
