// Gradients as bfloat16 on the wire: element-wise, bound by memory.
#include "kernels/backend.h"
#include "kernels/cuda/streaming.h"
#include "kernels/elementwise.h"

namespace lockstep::cuda {

namespace {

__device__ __forceinline__ float rounded(float value) { return to_float(from_float<BFloat16>(value)); }

struct Round {
  float* values;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> x = load<W>(values + i);
#pragma unroll
    for (int k = 0; k < W; ++k) x.at[k] = rounded(x.at[k]);
    store<W>(values + i, x);
  }
};

struct RoundKeepingRest {
  float *values, *residual;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> x = load<W>(values + i), rest = load<W>(residual + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float wanted = x.at[k] + rest.at[k];
      x.at[k] = rounded(wanted);
      rest.at[k] = wanted - x.at[k];
    }
    store<W>(values + i, x);
    store<W>(residual + i, rest);
  }
};

/// dst = partials[0] + (partials[1] + … + last), every sum rounded
struct WireAddChain {
  const float* partials[kMaxChain];
  int n_partials;
  const float* last;
  float* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<float, W> sum = load<W>(last + i);
    for (int p = n_partials - 1; p >= 0; --p) {
      const Pack<float, W> x = load<W>(partials[p] + i);
#pragma unroll
      for (int k = 0; k < W; ++k) sum.at[k] = rounded(x.at[k] + sum.at[k]);
    }
    store<W>(dst + i, sum);
  }
};

struct PackValues {
  const float* values;
  BFloat16* packed;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<float, W> x = load<W>(values + i);
    Pack<BFloat16, W> y;
#pragma unroll
    for (int k = 0; k < W; ++k) y.at[k] = from_float<BFloat16>(x.at[k]);
    store<W>(packed + i, y);
  }
};

struct Unpack {
  const BFloat16* packed;
  float* values;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<BFloat16, W> x = load<W>(packed + i);
    Pack<float, W> y;
#pragma unroll
    for (int k = 0; k < W; ++k) y.at[k] = to_float(x.at[k]);
    store<W>(values + i, y);
  }
};

struct AddPacked {
  const BFloat16* packed;
  float* values;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<BFloat16, W> x = load<W>(packed + i);
    Pack<float, W> sum = load<W>(values + i);
#pragma unroll
    for (int k = 0; k < W; ++k) sum.at[k] = rounded(sum.at[k] + to_float(x.at[k]));
    store<W>(values + i, sum);
  }
};

}  // namespace

void round_to_wire(Stream& stream, int64_t n, float* values, float* residual) {
  if (residual == nullptr) return stream_over<4>(stream, n, Round{values}, values);
  stream_over<4>(stream, n, RoundKeepingRest{values, residual}, values, residual);
}

void add_chain_bfloat16(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst) {
  WireAddChain chain{{}, static_cast<int>(partials.size()), last, dst};
  bool aligned = true;
  for (size_t p = 0; p < partials.size(); ++p) {
    chain.partials[p] = partials[p];
    aligned = aligned && reinterpret_cast<uintptr_t>(partials[p]) % 16 == 0;
  }
  stream_over<4>(stream, n, chain, last, dst, aligned ? last : last + 1);
}

void pack_bfloat16(Stream& stream, int64_t n, const float* values, uint16_t* packed) {
  stream_over<4>(stream, n, PackValues{values, reinterpret_cast<BFloat16*>(packed)}, values, packed);
}

void unpack_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values) {
  stream_over<4>(stream, n, Unpack{reinterpret_cast<const BFloat16*>(packed), values}, values, packed);
}

void add_packed_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values) {
  stream_over<4>(stream, n, AddPacked{reinterpret_cast<const BFloat16*>(packed), values}, values, packed);
}

}  // namespace lockstep::cuda
