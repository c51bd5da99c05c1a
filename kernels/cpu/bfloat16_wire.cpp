// On the calling thread: the reducer runs beside a computation that has all threads.
#include <algorithm>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_INLINE float rounded(float value) { return to_float(from_float<BFloat16>(value)); }

LOCKSTEP_VECTORIZE void round_keeping_rest(int64_t n, float* __restrict values, float* __restrict residual) {
  for (int64_t i = 0; i < n; ++i) {
    const float wanted = values[i] + residual[i];
    const float sent = rounded(wanted);
    residual[i] = wanted - sent;
    values[i] = sent;
  }
}

LOCKSTEP_VECTORIZE void add_rounded(int64_t n, const float* a, const float* b, float* dst) {
  // dst may be a or b, element by element: no iteration reads what another one writes.
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = rounded(a[i] + b[i]);
}

LOCKSTEP_VECTORIZE void add_packed(int64_t n, const BFloat16* __restrict packed, float* __restrict values) {
  for (int64_t i = 0; i < n; ++i) values[i] = rounded(values[i] + to_float(packed[i]));
}

const BFloat16* as_bfloat16(const uint16_t* bits) { return reinterpret_cast<const BFloat16*>(bits); }

}  // namespace

void round_to_wire(Stream&, int64_t n, float* values, float* residual) {
  if (residual == nullptr) return round_to_bfloat16(n, values, values);
  round_keeping_rest(n, values, residual);
}

void add_chain_bfloat16(Stream&, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst) {
  constexpr int64_t kBlock = 2048;  // sums on their way stay in the first cache
  float buffer[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t size = std::min(kBlock, n - start);
    const float* sum = last + start;
    if (partials.empty() && dst != last) std::copy_n(sum, size, dst + start);
    for (size_t k = partials.size(); k-- > 0;) {
      float* target = k == 0 ? dst + start : buffer;
      add_rounded(size, partials[k] + start, sum, target);
      sum = buffer;
    }
  }
}

void pack_bfloat16(Stream&, int64_t n, const float* values, uint16_t* packed) {
  convert_to_bfloat16(n, values, reinterpret_cast<BFloat16*>(packed));
}

void unpack_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values) {
  convert_to_float32(n, as_bfloat16(packed), values);
}

void add_packed_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values) {
  add_packed(n, as_bfloat16(packed), values);
}

}  // namespace lockstep::cpu
