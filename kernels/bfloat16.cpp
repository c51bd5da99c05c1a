#include "kernels/bfloat16.h"

namespace lockstep::cpu {

LOCKSTEP_VECTORIZE void convert_to_bfloat16(int64_t n, const float* src, BFloat16* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<BFloat16>(src[i]);
}

LOCKSTEP_VECTORIZE void convert_to_float32(int64_t n, const BFloat16* src, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = to_float(src[i]);
}

LOCKSTEP_VECTORIZE void round_to_bfloat16(int64_t n, const float* src, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = to_float(from_float<BFloat16>(src[i]));
}

}  // namespace lockstep::cpu
