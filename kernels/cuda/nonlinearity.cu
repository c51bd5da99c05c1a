// See nonlinearity.h and unary_op.h. gelu keeps src, the others dst.
#include "kernels/nonlinearity.h"

#include "kernels/backend.h"
#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/unary_op.h"

namespace lockstep::cuda {

namespace {

struct Sign {
  float at_zero;
  __device__ __forceinline__ float value(float x) const {
    const float away = x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;  // NaN stays NaN
    return x == 0.0f ? at_zero : away;
  }
  __device__ __forceinline__ float gradient(float, float) const { return 0.0f; }
};

struct LeakyRelu {
  float slope;
  __device__ __forceinline__ float value(float x) const { return x > 0.0f ? x : slope * x; }
  __device__ __forceinline__ float gradient(float y, float g) const { return y > 0.0f ? g : slope * g; }
};

struct Elu {
  float alpha;
  __device__ __forceinline__ float value(float x) const { return x > 0.0f ? x : alpha * expm1f(x); }
  __device__ __forceinline__ float gradient(float y, float g) const { return y > 0.0f ? g : g * (y + alpha); }
};

struct Gelu {
  __device__ __forceinline__ static float distribution(float x) {
    return 0.5f * (1.0f + erff(x * 0.707106781f));
  }
  __device__ __forceinline__ float value(float x) const { return x * distribution(x); }
  __device__ __forceinline__ float gradient(float x, float g) const {
    const float density = 0.398942280f * expf(-0.5f * x * x);  // 1 / sqrt(2 pi)
    return g * (distribution(x) + x * density);
  }
};

/// (1 + tanh(u)) / 2 = sigmoid(2 u)
struct GeluTanh {
  static constexpr float kTwiceRoot = 1.59576912f;  // 2 sqrt(2 / pi)
  __device__ __forceinline__ static float half_tanh(float x) {
    return Sigmoid{}.value(kTwiceRoot * (x + 0.044715f * x * x * x));
  }
  __device__ __forceinline__ float value(float x) const { return x * half_tanh(x); }
  __device__ __forceinline__ float gradient(float x, float g) const {
    const float s = half_tanh(x), slope = kTwiceRoot * (1.0f + 3 * 0.044715f * x * x);
    return g * (s + x * s * (1.0f - s) * slope);
  }
};

/// One kernel for all: they wait for memory, and all threads take the same branch.
struct NonlinearityFunction {
  Nonlinearity function;
  float alpha;

  template <typename Body>
  __device__ __forceinline__ float with(const Body& body) const {
    switch (function) {
      case Nonlinearity::kSign: return body(Sign{alpha});
      case Nonlinearity::kLeakyRelu: return body(LeakyRelu{alpha});
      case Nonlinearity::kElu: return body(Elu{alpha});
      case Nonlinearity::kGelu: return body(Gelu{});
      case Nonlinearity::kGeluTanh: return body(GeluTanh{});
    }
    return 0.0f;
  }
  __device__ __forceinline__ float value(float x) const {
    return with([=](auto f) { return f.value(x); });
  }
  __device__ __forceinline__ float gradient(float kept, float g) const {
    return with([=](auto f) { return f.gradient(kept, g); });
  }
};

}  // namespace

std::unique_ptr<Op> make_nonlinearity(const OpConfig&, const NonlinearityDesc& desc) {
  const bool needs_src = desc.function == Nonlinearity::kGelu || desc.function == Nonlinearity::kGeluTanh;
  return std::make_unique<UnaryOp<NonlinearityFunction>>(
      desc.src, NonlinearityFunction{desc.function, desc.alpha}, needs_src);
}

}  // namespace lockstep::cuda
