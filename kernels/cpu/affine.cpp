// Affine on the CPU: one float32 matrix product per direction, straight on the canonical
// weights, between one pass for bias and activation and one pass for their gradients.
//
// dnnl_sgemm packs its operands in cache as it goes. Measured on AVX-512 against oneDNN's
// inner product with blocked weights, it is as fast per product and saves the reorder of
// weights and gradients in every step (bench/op_bench.cpp), which costs 10-20 % of the step.
#include "kernels/affine.h"

#include "kernels/backend.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/onednn.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

class AffineOp : public Op {
 public:
  AffineOp(const OpConfig& config, const AffineDesc& desc)
      : desc_(desc), rows_(desc.src.shape[0]), in_(desc.src.shape[1]), out_(desc.out_features) {
    info_.src = {desc.src.dense()};
    info_.dst = {TensorDesc{Shape{rows_, out_}, DType::kFloat32, nullptr}};
    info_.backward_needs_dst = desc.activation != Activation::kNone;
    if (config.training && desc.activation != Activation::kNone) {
      info_.scratchpad_bytes = info_.dst[0].n_bytes();  // diff_dst * f'(dst)
    }
    if (desc.activation == Activation::kTanh || desc.activation == Activation::kSigmoid) {
      const MemoryDesc data = dense_desc(Shape{rows_ * out_});
      activate_ = Primitive(eltwise_forward(config.training, algorithm_of(desc.activation), data),
                            {{DNNL_ARG_SRC, data}, {DNNL_ARG_DST, data}});
    }
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* weights = args.params[0].as<float>();
    float* dst = args.dst[0].as<float>();
    check(dnnl_sgemm('N', 'T', rows_, out_, in_, 1.0f, src, in_, weights, in_, 0.0f, dst, out_),
          "dnnl_sgemm");
    const float* bias = desc_.has_bias ? args.params[1].as<float>() : nullptr;
    add_bias(rows_, out_, bias, desc_.activation == Activation::kRelu, dst);
    if (activate_) activate_.run(stream, {dst, dst});
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* diff_dst = args.diff_dst[0].as<float>();
    const bool masks = desc_.activation != Activation::kNone;
    float* masked = masks ? reinterpret_cast<float*>(args.scratchpad) : nullptr;
    backward_epilogue(rows_, out_, desc_.activation, masks ? args.dst[0].as<float>() : nullptr, diff_dst,
                      masked, desc_.has_bias ? args.diff_params[1].as<float>() : nullptr);
    if (masks) diff_dst = masked;

    check(dnnl_sgemm('T', 'N', out_, in_, rows_, 1.0f, diff_dst, out_, args.src[0].as<float>(), in_, 0.0f,
                     args.diff_params[0].as<float>(), in_),
          "dnnl_sgemm");
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    check(dnnl_sgemm('N', 'N', rows_, in_, out_, 1.0f, diff_dst, out_, args.params[0].as<float>(), in_, 0.0f,
                     args.diff_src[0].as<float>(), in_),
          "dnnl_sgemm");
  }

 private:
  AffineDesc desc_;
  int64_t rows_, in_, out_;  // N, I, O
  Primitive activate_;
};

}  // namespace

std::unique_ptr<Op> make_affine(const OpConfig& config, const AffineDesc& desc) {
  if (config.compute != DType::kFloat32 || desc.src.dtype != DType::kFloat32) {
    throw Error("affine", "the CPU computes in float32 only", "set `precision: float32`");
  }
  return std::make_unique<AffineOp>(config, desc);
}

}  // namespace lockstep::cpu
