// Affine on the CPU: one float32 matrix product per direction, straight on the canonical
// weights.
//
// oneDNN's sgemm is fastest on products of untransposed matrices (by 5-15 %, AVX-512). So the
// batch is turned instead of the weights: between affine layers activations are in the
// feature-major layout (features, N), and
//   dst^T = weights · src^T,   diff_weights = diff_dst^T · src,   diff_src^T = weights^T · diff_dst^T.
// oneDNN's inner product with blocked weights is no faster and costs a reorder of weights and
// gradients in every step, 10-20 % of it.
#include "kernels/affine.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/onednn_products.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/cpu/transpose.h"
#include "kernels/cpu/weight_gradient.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kLeastRows = 16;      // smaller batches are fastest as they are
constexpr int64_t kLeastFeatures = 32;  // the few outputs of a last layer stay dense for their reader

/// (N, features) stored as (features, N).
MemoryDesc feature_major_desc(const Shape& shape) {
  return MemoryDesc({shape[0], shape[1]}, dnnl::memory::data_type::f32, dnnl::memory::dims{1, shape[0]});
}

class AffineOp : public Op {
 public:
  AffineOp(const OpConfig& config, const AffineDesc& desc)
      : desc_(desc), rows_(AffineExtents(desc).rows), in_(AffineExtents(desc).in), out_(desc.out_features) {
    const Shape src{rows_, in_}, dst{rows_, out_};
    const TensorDesc src_turned = from_onednn(feature_major_desc(src), src, DType::kFloat32);
    turns_ = rows_ >= kLeastRows && !is_of_steps();  // rows of steps stay with their readers
    src_turned_ = turns_ && desc.src.layout && desc.src.same_layout(src_turned);
    dst_turned_ = turns_ && out_ >= kLeastFeatures;
    info_.src = {src_turned_ ? src_turned : desc.src.dense()};
    info_.dst = {dst_turned_ ? from_onednn(feature_major_desc(dst), dst, DType::kFloat32)
                             : TensorDesc{AffineExtents(desc).dst}};
    info_.backward_needs_dst = masks();

    const int64_t src_copy = turns_ && !src_turned_ ? padded_floats(rows_ * in_) : 0;
    const int64_t dst_copy = turns_ && !dst_turned_ ? padded_floats(rows_ * out_) : 0;
    info_.scratchpad_bytes = (src_copy + dst_copy) * 4;
    if (config.training) {
      const int64_t masked = masks() ? padded_floats(rows_ * out_) : 0;
      const int64_t product = is_of_steps() ? weight_gradient_scratch(rows_, out_, in_) : 0;
      info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, (masked + dst_copy + product) * 4);
    }
    if (masks() && desc.activation != Activation::kRelu) {
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
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    const bool relu = desc_.activation == Activation::kRelu;
    if (turns_) {
      if (!src_turned_) {
        transpose(rows_, in_, src, scratch);
        src = scratch;
        scratch += padded_floats(rows_ * in_);
      }
      float* product = dst_turned_ ? dst : scratch;
      multiply('N', 'N', out_, rows_, in_, weights, src, product);
      if (dst_turned_) {
        add_bias_to_rows(out_, rows_, bias, relu, dst);
      } else {
        transpose_add_bias(out_, rows_, product, bias, relu, dst);
      }
    } else {
      multiply('N', 'T', rows_, out_, in_, src, weights, dst);
      add_bias(rows_, out_, bias, relu, dst);
    }
    if (activate_) activate_.run(stream, {dst, dst});
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<float>();
    const float* dst = masks() ? args.dst[0].as<float>() : nullptr;
    const float* diff_dst = args.diff_dst[0].as<float>();
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    float* masked = masks() ? scratch : nullptr;
    float* diff_bias = desc_.has_bias ? args.diff_params[1].as<float>() : nullptr;
    if (dst_turned_) {
      backward_epilogue_of_rows(out_, rows_, desc_.activation, dst, diff_dst, masked, diff_bias);
    } else {
      backward_epilogue(rows_, out_, desc_.activation, dst, diff_dst, masked, diff_bias);
    }
    if (masks()) {
      diff_dst = masked;
      scratch += padded_floats(rows_ * out_);
    }
    const float* turned = diff_dst;  // diff_dst^T
    if (turns_ && !dst_turned_) {
      transpose(rows_, out_, diff_dst, scratch);
      turned = scratch;
    }
    float* const diff_weights = args.diff_params[0].as<float>();
    if (!is_of_steps()) {
      multiply(turns_ ? 'N' : 'T', src_turned_ ? 'T' : 'N', out_, in_, rows_, turned, src, diff_weights);
    } else {
      weight_gradient(rows_, out_, in_, diff_dst, src, diff_weights, scratch);
    }
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const float* weights = args.params[0].as<float>();
    float* diff_src = args.diff_src[0].as<float>();
    if (src_turned_) {
      multiply('T', 'N', in_, rows_, out_, weights, turned, diff_src);
    } else {
      multiply(dst_turned_ ? 'T' : 'N', 'N', rows_, in_, out_, diff_dst, weights, diff_src);
    }
  }

 private:
  bool is_of_steps() const { return desc_.src.shape.rank() > 2; }
  bool masks() const { return desc_.activation != Activation::kNone; }

  AffineDesc desc_;
  int64_t rows_, in_, out_;  // N, I, O
  bool turns_ = false, src_turned_ = false, dst_turned_ = false;
  Primitive activate_;
};

}  // namespace

std::unique_ptr<Op> make_affine(const OpConfig& config, const AffineDesc& desc) {
  if (config.compute == DType::kFloat32) return std::make_unique<AffineOp>(config, desc);
  if (desc.src.shape.rank() == 2) {
    const Shape weights{desc.out_features, desc.src.shape[1]};
    auto op = make_bfloat16_product({.kind = ProductProblem::Kind::kInnerProduct,
                                     .src = desc.src.shape,
                                     .weights = weights,
                                     .dst = Shape{desc.src.shape[0], desc.out_features},
                                     .canonical = dense_desc(weights),
                                     .has_bias = desc.has_bias,
                                     .activation = desc.activation,
                                     .dtype = config.compute,
                                     .training = config.training,
                                     .wants_diff_src = desc.wants_diff_src});
    if (op) return op;
  }
  AffineDesc wide = desc;
  wide.src = as_float32(desc.src);
  return through_float32(cpu::make_affine(as_float32(config), wide), Weights::kBFloat16);
}

}  // namespace lockstep::cpu
