// Activation functions of one element and their derivatives from the result: for the op of their own and
// for ops that fuse them. NaN stays NaN.
#pragma once

#include "kernels/activation.h"
#include "kernels/cuda/runtime.h"

namespace lockstep::cuda {

struct Identity {
  __device__ __forceinline__ float value(float x) const { return x; }
  __device__ __forceinline__ float gradient(float, float g) const { return g; }
};
struct Relu {
  __device__ __forceinline__ float value(float x) const { return x < 0.0f ? 0.0f : x; }
  __device__ __forceinline__ float gradient(float y, float g) const { return y > 0.0f ? g : 0.0f; }
};
struct Relu6 {
  __device__ __forceinline__ float value(float x) const {
    const float above = x < 0.0f ? 0.0f : x;
    return above > 6.0f ? 6.0f : above;
  }
  __device__ __forceinline__ float gradient(float y, float g) const {
    return y > 0.0f && y < 6.0f ? g : 0.0f;
  }
};
struct Tanh {
  __device__ __forceinline__ float value(float x) const { return tanhf(x); }
  __device__ __forceinline__ float gradient(float y, float g) const { return g * (1.0f - y * y); }
};
struct Sigmoid {
  __device__ __forceinline__ float value(float x) const { return 1.0f / (1.0f + expf(-x)); }
  __device__ __forceinline__ float gradient(float y, float g) const { return g * (y * (1.0f - y)); }
};

/// body(f) with the function object of `activation`.
template <typename Body>
void with_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kNone: return body(Identity{});
    case Activation::kRelu: return body(Relu{});
    case Activation::kRelu6: return body(Relu6{});
    case Activation::kTanh: return body(Tanh{});
    case Activation::kSigmoid: return body(Sigmoid{});
  }
}

}  // namespace lockstep::cuda
