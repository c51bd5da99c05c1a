// Elements of host memory as float32, whatever their type, for the naive stand-ins of the libraries.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <vector>

#include "kernels/dtype.h"

namespace cuda_on_host {

inline float number_at(lockstep::DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case lockstep::DType::kBFloat16: return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    case lockstep::DType::kFloat16: return __half2float(static_cast<const __half*>(data)[i]);
    default: return static_cast<const float*>(data)[i];
  }
}

inline void set_number(lockstep::DType dtype, void* data, int64_t i, float value) {
  switch (dtype) {
    case lockstep::DType::kBFloat16: static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value); break;
    case lockstep::DType::kFloat16: static_cast<__half*>(data)[i] = __float2half_rn(value); break;
    default: static_cast<float*>(data)[i] = value;
  }
}

inline std::vector<float> numbers(lockstep::DType dtype, const void* data, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = number_at(dtype, data, i);
  return values;
}

/// sums[i] += factor * values[i]
inline void add_product(int64_t n, float factor, const float* __restrict values, float* __restrict sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += factor * values[i];
}

/// NaN everywhere: who relies on what a library leaves in its workspace is found out.
inline void spoil(void* workspace, int64_t n_bytes) {
  for (int64_t i = 0; i < n_bytes; ++i) static_cast<unsigned char*>(workspace)[i] = 0xFF;
}

}  // namespace cuda_on_host
