// Element types as kernels see them: float, __nv_bfloat16 and __half in memory, float in registers, and
// packs of 16 bytes that one thread loads or stores at once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <string>

#include "kernels/cuda/runtime.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace lockstep::cuda {

using BFloat16 = __nv_bfloat16;
using Float16 = __half;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(BFloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(Float16 value) { return __half2float(value); }

/// Rounds to the nearest, ties to even.
template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ BFloat16 from_float<BFloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ Float16 from_float<Float16>(float value) {
  return __float2half_rn(value);
}

/// N neighbours in memory, aligned to all of them: one load or store up to 16 bytes.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

/// Elements of T in 16 bytes.
template <typename T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

/// This thread's number among all threads of a one-dimensional launch.
__device__ __forceinline__ int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// body.operator()<T>() with the element type of `dtype`: float32, bfloat16 or float16.
template <typename Body>
void with_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat32: return body.template operator()<float>();
    case DType::kBFloat16: return body.template operator()<BFloat16>();
    case DType::kFloat16: return body.template operator()<Float16>();
    default: break;
  }
  throw Error("cuda", "no kernel for elements of type " + std::string(name_of(dtype)),
              "set `precision` to float32, bfloat16 or float16");
}

}  // namespace lockstep::cuda
