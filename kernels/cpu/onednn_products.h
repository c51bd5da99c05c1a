// oneDNN's primitives of layers with weights (convolution, transposed convolution, affine), and an
// Op made of them. Weights and their gradient are canonical float32 outside: the copy in forward's
// own layout and type is refreshed by prepare(). backward() has a blocked gradient, and weights
// in the layout that the gradient of src wants, for a moment in the scratchpad: a second copy of
// all weights would cost more memory than the reorder costs time. So has it the derivative of a
// fused activation.
#pragma once

#include <dnnl.hpp>

#include "kernels/activation.h"
#include "kernels/cpu/onednn.h"
#include "kernels/op.h"

namespace lockstep::cpu {

/// Hands out 64-byte aligned pieces of one buffer.
class Pieces {
 public:
  int64_t add(int64_t n_bytes) {
    const int64_t offset = n_bytes_;
    n_bytes_ += (n_bytes + 63) / 64 * 64;
    return offset;
  }
  int64_t n_bytes() const { return n_bytes_; }

 private:
  int64_t n_bytes_ = 0;
};

/// The weights in the layout of a primitive: the canonical ones themselves, or a copy.
class PackedWeights {
 public:
  PackedWeights() = default;
  PackedWeights(const MemoryDesc& canonical, const MemoryDesc& wanted);
  void refresh(Stream& stream, const void* canonical) {
    if (reorder_) reorder_.run(stream, {canonical, copy_.data()});
  }
  const void* data(const void* canonical) const { return reorder_ ? copy_.data() : canonical; }

 private:
  Memory copy_;
  Primitive reorder_;
};

struct ConvGeometry {
  dnnl::memory::dims stride, dilation, pad_begin, pad_end;  // dilation: oneDNN's, 0 is dense
};

/// A layer in oneDNN's terms. The library chooses the layout of its weights.
struct ProductProblem {
  enum class Kind : uint8_t { kConvolution, kDeconvolution, kInnerProduct };
  Kind kind = Kind::kConvolution;
  Shape src, weights, dst;  // weights as oneDNN counts them: (G, K/G, C/G, kh, kw), without G where it is 1
  MemoryDesc canonical;     // the parameter as it lies in the arena, of the shape of `weights`
  bool has_bias = true;     // (K)
  ConvGeometry geometry;    // not of inner products
  Activation activation = Activation::kNone;
  DType dtype = DType::kFloat32;  // of src and dst, and of the copies of the weights
  bool training = true, wants_diff_src = true;
};

/// The three primitives in one choice of layouts. Empty: not wanted.
struct ProductPrimitives {
  dnnl::primitive_desc_base forward, data, weights;

  MemoryDesc src_desc() const { return forward.query_md(dnnl::query::src_md); }
  MemoryDesc dst_desc() const { return forward.query_md(dnnl::query::dst_md); }
  /// Whether one of them is the library's slow reference code.
  bool has_reference() const;
};

/// src and dst as given, or any. Throws Error where this version has no such primitive.
ProductPrimitives make_primitives(const ProductProblem& problem, const MemoryDesc& src,
                                  const MemoryDesc& dst);

/// The library's own layouts; but where it has only its slow reference code for one of the
/// three, as for the gradients of layers with few channels, dense ones. Inference takes the
/// layouts of training: equal bits.
ProductPrimitives choose_primitives(const ProductProblem& problem);

/// The op of a bfloat16 problem in the library's own layouts; null where this CPU has no bfloat16
/// units or the library no fast code for them: through_float32.h then.
std::unique_ptr<Op> make_bfloat16_product(const ProductProblem& problem);

class ProductOp : public Op {
 public:
  ProductOp(const ProductProblem& problem, const ProductPrimitives& primitives);

  void prepare(Stream& stream, std::span<const Tensor> params) override;
  void forward(Stream& stream, const OpArgs& args) override;
  void backward(Stream& stream, const OpArgs& args) override;

 private:
  void build_backward(const ProductProblem& problem, const ProductPrimitives& primitives,
                      const MemoryDesc& bias);

  bool has_bias_;
  Primitive forward_, mask_, backward_weights_, unpack_, pack_for_data_, backward_data_;
  PackedWeights weights_;
  bool data_takes_forward_weights_ = false;
  int64_t masked_offset_ = 0, packed_offset_ = 0, scratch_offset_ = 0;  // into the scratchpad
};

}  // namespace lockstep::cpu
