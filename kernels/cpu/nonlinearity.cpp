// See nonlinearity.h and unary_op.h. gelu keeps src, the others dst.
#include "kernels/nonlinearity.h"

#include "kernels/backend.h"
#include "kernels/cpu/unary_op.h"
#include "kernels/cpu/vector_math.h"

namespace lockstep::cpu {

namespace {

struct Sign {
  float at_zero;
  LOCKSTEP_INLINE float value(float x) const {
    const float away = x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;  // NaN stays NaN
    return x == 0.0f ? at_zero : away;
  }
  LOCKSTEP_INLINE float gradient(float, float) const { return 0.0f; }
};

struct LeakyRelu {
  float slope;
  LOCKSTEP_INLINE float value(float x) const { return select(x > 0.0f, x, slope * x); }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return select(y > 0.0f, g, slope * g); }
};

struct Elu {
  float alpha;
  LOCKSTEP_INLINE float value(float x) const { return select(x > 0.0f, x, alpha * expm1_nonpositive(x)); }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return select(y > 0.0f, g, g * (y + alpha)); }
};

struct Gelu {
  static LOCKSTEP_INLINE float distribution(float x) { return 0.5f * (1.0f + erf(x * 0.707106781f)); }
  LOCKSTEP_INLINE float value(float x) const { return x * distribution(x); }
  LOCKSTEP_INLINE float gradient(float x, float g) const {
    const float density = 0.398942280f * exp_nonpositive(-0.5f * x * x);  // 1 / sqrt(2 pi)
    return g * (distribution(x) + x * density);
  }
};

/// (1 + tanh(u)) / 2 = sigmoid(2 u)
struct GeluTanh {
  static constexpr float kTwiceRoot = 1.59576912f;  // 2 sqrt(2 / pi)
  LOCKSTEP_INLINE float value(float x) const { return x * sigmoid(kTwiceRoot * (x + 0.044715f * x * x * x)); }
  LOCKSTEP_INLINE float gradient(float x, float g) const {
    const float s = sigmoid(kTwiceRoot * (x + 0.044715f * x * x * x));
    const float slope = kTwiceRoot * (1.0f + 3 * 0.044715f * x * x);
    return g * (s + x * s * (1.0f - s) * slope);
  }
};

/// body(f) with the functor of `function`.
template <typename Body>
LOCKSTEP_INLINE void with_function(Nonlinearity function, float alpha, const Body& body) {
  switch (function) {
    case Nonlinearity::kSign: return body(Sign{alpha});
    case Nonlinearity::kLeakyRelu: return body(LeakyRelu{alpha});
    case Nonlinearity::kElu: return body(Elu{alpha});
    case Nonlinearity::kGelu: return body(Gelu{});
    case Nonlinearity::kGeluTanh: return body(GeluTanh{});
  }
}

LOCKSTEP_VECTORIZE void run(Nonlinearity function, float alpha, int64_t n, const float* src, float* dst) {
  with_function(function, alpha, [=](auto f) LOCKSTEP_INLINE_LAMBDA { map(f, n, src, dst); });
}
LOCKSTEP_VECTORIZE void run16(Nonlinearity function, float alpha, int64_t n, const BFloat16* src,
                              BFloat16* dst) {
  with_function(function, alpha, [=](auto f) LOCKSTEP_INLINE_LAMBDA { map(f, n, src, dst); });
}
LOCKSTEP_VECTORIZE void run_backward(Nonlinearity function, float alpha, int64_t n, const float* kept,
                                     const float* diff_dst, float* diff_src) {
  with_function(function, alpha,
                [=](auto f) LOCKSTEP_INLINE_LAMBDA { map_backward(f, n, kept, diff_dst, diff_src); });
}
LOCKSTEP_VECTORIZE void run_backward16(Nonlinearity function, float alpha, int64_t n, const BFloat16* kept,
                                       const BFloat16* diff_dst, BFloat16* diff_src) {
  with_function(function, alpha,
                [=](auto f) LOCKSTEP_INLINE_LAMBDA { map_backward(f, n, kept, diff_dst, diff_src); });
}

class NonlinearityOp : public UnaryOp {
 public:
  explicit NonlinearityOp(const NonlinearityDesc& desc)
      : UnaryOp(desc.src, desc.function == Nonlinearity::kGelu || desc.function == Nonlinearity::kGeluTanh,
                desc.function != Nonlinearity::kSign),
        function_(desc.function),
        alpha_(desc.alpha) {}

 protected:
  void map(int64_t n, const float* src, float* dst) const override { run(function_, alpha_, n, src, dst); }
  void map(int64_t n, const BFloat16* src, BFloat16* dst) const override {
    run16(function_, alpha_, n, src, dst);
  }
  void map_backward(int64_t n, const float* kept, const float* diff_dst, float* diff_src) const override {
    run_backward(function_, alpha_, n, kept, diff_dst, diff_src);
  }
  void map_backward(int64_t n, const BFloat16* kept, const BFloat16* diff_dst,
                    BFloat16* diff_src) const override {
    run_backward16(function_, alpha_, n, kept, diff_dst, diff_src);
  }

 private:
  Nonlinearity function_;
  float alpha_;
};

}  // namespace

std::unique_ptr<Op> make_nonlinearity(const OpConfig&, const NonlinearityDesc& desc) {
  return std::make_unique<NonlinearityOp>(desc);
}

}  // namespace lockstep::cpu
