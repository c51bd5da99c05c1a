// tanh and sigmoid through oneDNN's element-wise primitives, in the forms whose backward pass reads
// dst only; relu and relu6 in own loops, since oneDNN's turn NaN into 0, and all bfloat16, which those
// primitives do not have on every CPU. Padding of blocked layouts stays zero.
#include "kernels/activation.h"

#include "kernels/backend.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/unary_op.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/reshape.h"

namespace lockstep::cpu {

namespace {

class OneDnnActivation : public Op {
 public:
  OneDnnActivation(const OpConfig& config, const ActivationDesc& desc) {
    info_.src = {desc.src};
    info_.dst = {desc.src};
    info_.backward_needs_src = false;
    // A dense tensor is one row: any rank, and no limit of oneDNN's on it.
    const MemoryDesc data =
        desc.src.layout ? to_onednn(desc.src) : dense_desc(Shape{desc.src.n_elements()}, desc.src.dtype);
    const auto algorithm = algorithm_of(desc.activation);
    const auto forward = eltwise_forward(config.training, algorithm, data);
    forward_ = Primitive(forward, {{DNNL_ARG_SRC, data}, {DNNL_ARG_DST, data}});
    if (!config.training) return;
    backward_ = Primitive(eltwise_backward(algorithm, data, forward),
                          {{DNNL_ARG_DST, data}, {DNNL_ARG_DIFF_DST, data}, {DNNL_ARG_DIFF_SRC, data}});
  }

  void forward(Stream& stream, const OpArgs& args) override {
    forward_.run(stream, {args.src[0].data, args.dst[0].data});
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    backward_.run(stream, {args.dst[0].data, args.diff_dst[0].data, args.diff_src[0].data});
  }

 private:
  Primitive forward_, backward_;
};

// Own loops -----------------------------------------------------------------------------------

// Comparisons are such that NaN stays NaN.
struct Relu {
  LOCKSTEP_INLINE float value(float x) const { return x < 0.0f ? 0.0f : x; }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return y > 0.0f ? g : 0.0f; }
};
struct Relu6 {
  LOCKSTEP_INLINE float value(float x) const {
    const float above = x < 0.0f ? 0.0f : x;
    return above > 6.0f ? 6.0f : above;
  }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return (y > 0.0f) & (y < 6.0f) ? g : 0.0f; }
};
struct Tanh {
  LOCKSTEP_INLINE float value(float x) const { return tanh(x); }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return g * (1.0f - y * y); }
};
struct Sigmoid {
  LOCKSTEP_INLINE float value(float x) const { return sigmoid(x); }
  LOCKSTEP_INLINE float gradient(float y, float g) const { return g * (y * (1.0f - y)); }
};

/// body(f) with the functor of `activation`.
template <typename Body>
LOCKSTEP_INLINE void with_function(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kRelu: return body(Relu{});
    case Activation::kRelu6: return body(Relu6{});
    case Activation::kTanh: return body(Tanh{});
    case Activation::kSigmoid: return body(Sigmoid{});
    case Activation::kNone: return;
  }
}

LOCKSTEP_VECTORIZE void run(Activation activation, int64_t n, const float* src, float* dst) {
  with_function(activation, [=](auto f) LOCKSTEP_INLINE_LAMBDA { map(f, n, src, dst); });
}
LOCKSTEP_VECTORIZE void run16(Activation activation, int64_t n, const BFloat16* src, BFloat16* dst) {
  with_function(activation, [=](auto f) LOCKSTEP_INLINE_LAMBDA { map(f, n, src, dst); });
}
LOCKSTEP_VECTORIZE void run_backward(Activation activation, int64_t n, const float* dst,
                                     const float* diff_dst, float* diff_src) {
  with_function(activation,
                [=](auto f) LOCKSTEP_INLINE_LAMBDA { map_backward(f, n, dst, diff_dst, diff_src); });
}
LOCKSTEP_VECTORIZE void run_backward16(Activation activation, int64_t n, const BFloat16* dst,
                                       const BFloat16* diff_dst, BFloat16* diff_src) {
  with_function(activation,
                [=](auto f) LOCKSTEP_INLINE_LAMBDA { map_backward(f, n, dst, diff_dst, diff_src); });
}

class LoopActivation : public UnaryOp {
 public:
  explicit LoopActivation(const ActivationDesc& desc)
      : UnaryOp(desc.src, false, desc.activation != Activation::kSigmoid), activation_(desc.activation) {}

 protected:
  void map(int64_t n, const float* src, float* dst) const override { run(activation_, n, src, dst); }
  void map(int64_t n, const BFloat16* src, BFloat16* dst) const override { run16(activation_, n, src, dst); }
  void map_backward(int64_t n, const float* dst, const float* diff_dst, float* diff_src) const override {
    run_backward(activation_, n, dst, diff_dst, diff_src);
  }
  void map_backward(int64_t n, const BFloat16* dst, const BFloat16* diff_dst,
                    BFloat16* diff_src) const override {
    run_backward16(activation_, n, dst, diff_dst, diff_src);
  }

 private:
  Activation activation_;
};

}  // namespace

std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc) {
  if (desc.activation == Activation::kNone) return lockstep::make_reorder(config, desc.src, desc.src);
  const bool in_onednn = desc.activation == Activation::kTanh || desc.activation == Activation::kSigmoid;
  if (in_onednn && desc.src.dtype == DType::kFloat32) return std::make_unique<OneDnnActivation>(config, desc);
  return std::make_unique<LoopActivation>(desc);
}

}  // namespace lockstep::cpu
