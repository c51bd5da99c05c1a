#pragma once

#include <cstdint>

namespace lockstep::cpu {

/// Of n <= 4096 elements, in float64 and in an order that depends on n alone; on the calling thread.
double chunk_sum_of_squares(int64_t n, const float* src);

}  // namespace lockstep::cpu
