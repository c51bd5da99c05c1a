// Affine on the CPU: one float32 matrix product per direction, straight on the canonical
// weights.
//
// oneDNN's sgemm is fastest on products of untransposed matrices (by 5-15 %, AVX-512), so the
// small matrices, those of the batch, are turned around it instead:
//   dst^T = weights · src^T,   diff_weights = diff_dst^T · src,   diff_src = diff_dst · weights.
// oneDNN's inner product with blocked weights is no faster and costs a reorder of weights and
// gradients in every step, 10-20 % of it.
#include "kernels/affine.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/transpose.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kLeastRows = 16;  // smaller batches are fastest as they are

/// c (m, n) = op(a) · op(b), all dense row-major; op transposes where the letter is 'T'.
void multiply(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c) {
  check(dnnl_sgemm(op_a, op_b, m, n, k, 1.0f, a, op_a == 'N' ? k : m, b, op_b == 'N' ? n : k, 0.0f, c, n),
        "dnnl_sgemm");
}

class AffineOp : public Op {
 public:
  AffineOp(const OpConfig& config, const AffineDesc& desc)
      : desc_(desc), rows_(desc.src.shape[0]), in_(desc.src.shape[1]), out_(desc.out_features) {
    info_.src = {desc.src.dense()};
    info_.dst = {TensorDesc{Shape{rows_, out_}, DType::kFloat32, nullptr}};
    info_.backward_needs_dst = desc.activation != Activation::kNone;
    turns_ = rows_ >= kLeastRows;
    const int64_t src_floats = padded(rows_ * in_), dst_floats = padded(rows_ * out_);
    // forward: src^T, dst^T; backward: diff_dst * f'(dst), and its transpose
    if (turns_) info_.scratchpad_bytes = (src_floats + dst_floats) * 4;
    if (config.training) {
      const int64_t n_copies = (masks() ? 1 : 0) + (turns_ ? 1 : 0);
      info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, n_copies * dst_floats * 4);
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
    const float* bias = desc_.has_bias ? args.params[1].as<float>() : nullptr;
    float* dst = args.dst[0].as<float>();
    const bool relu = desc_.activation == Activation::kRelu;
    if (turns_) {
      float* src_turned = reinterpret_cast<float*>(args.scratchpad);
      float* dst_turned = src_turned + padded(rows_ * in_);
      transpose(rows_, in_, src, src_turned);
      multiply('N', 'N', out_, rows_, in_, weights, src_turned, dst_turned);
      transpose_add_bias(out_, rows_, dst_turned, bias, relu, dst);
    } else {
      multiply('N', 'T', rows_, out_, in_, src, weights, dst);
      add_bias(rows_, out_, bias, relu, dst);
    }
    if (activate_) activate_.run(stream, {dst, dst});
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* diff_dst = args.diff_dst[0].as<float>();
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    float* diff_bias = desc_.has_bias ? args.diff_params[1].as<float>() : nullptr;
    if (masks()) {
      backward_epilogue(rows_, out_, desc_.activation, args.dst[0].as<float>(), diff_dst, scratch, diff_bias);
      diff_dst = scratch;
      scratch += padded(rows_ * out_);
    } else {
      backward_epilogue(rows_, out_, desc_.activation, nullptr, diff_dst, nullptr, diff_bias);
    }
    float* diff_weights = args.diff_params[0].as<float>();
    if (turns_) {
      transpose(rows_, out_, diff_dst, scratch);
      multiply('N', 'N', out_, in_, rows_, scratch, src, diff_weights);
    } else {
      multiply('T', 'N', out_, in_, rows_, diff_dst, src, diff_weights);
    }
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    multiply('N', 'N', rows_, in_, out_, diff_dst, args.params[0].as<float>(), args.diff_src[0].as<float>());
  }

 private:
  bool masks() const { return desc_.activation != Activation::kNone; }
  static int64_t padded(int64_t n_floats) { return (n_floats + 15) / 16 * 16; }  // to 64 bytes

  AffineDesc desc_;
  int64_t rows_, in_, out_;  // N, I, O
  bool turns_ = false;
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
