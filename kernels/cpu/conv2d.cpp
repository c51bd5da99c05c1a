// Convolution on the CPU with oneDNN, which may choose the layout of src, dst and weights
// (nChw16c on AVX-512). Weights and their gradient are canonical outside: blocked copies are
// refreshed by prepare(), a blocked gradient is reordered at the end of backward().
// The derivative of a fused activation is taken in one pass into the scratchpad.
#include "kernels/conv2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/direct_conv2d.h"
#include "kernels/cpu/onednn.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kFewChannels = 3;  // images: src stays (N, C, H, W), padding to 16 would waste work

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

ConvGeometry geometry_of(const Conv2dDesc& desc) {
  return {{desc.stride[0], desc.stride[1]},
          {desc.dilation[0] - 1, desc.dilation[1] - 1},
          {desc.padding[0], desc.padding[2]},
          {desc.padding[1], desc.padding[3]}};
}

/// The weights in the layout of a primitive: the canonical ones themselves, or a copy.
class PackedWeights {
 public:
  PackedWeights() = default;
  PackedWeights(const MemoryDesc& canonical, const MemoryDesc& wanted) {
    if (canonical == wanted) return;
    copy_ = Memory(Device{}, size_of(wanted));
    reorder_ = make_reorder_primitive(canonical, wanted);
  }
  void refresh(Stream& stream, const void* canonical) {
    if (reorder_) reorder_.run(stream, {canonical, copy_.data()});
  }
  const void* data(const void* canonical) const { return reorder_ ? copy_.data() : canonical; }

 private:
  Memory copy_;
  Primitive reorder_;
};

/// The three primitives of a convolution in one choice of layouts.
struct Choice {
  dnnl::convolution_forward::primitive_desc forward;
  dnnl::convolution_backward_data::primitive_desc data;        // empty: not wanted
  dnnl::convolution_backward_weights::primitive_desc weights;  // empty: not wanted
};

/// What oneDNN is asked for, in its terms.
struct Problem {
  Shape src, dst, weights;  // weights (G, K/G, C/G, kh, kw), without G where it is 1
  MemoryDesc bias;          // empty: none
  ConvGeometry geometry;
  Activation activation;
  bool training, wants_diff_src;

  Choice choose(const MemoryDesc& src_desc, const MemoryDesc& dst_desc) const {
    Choice choice;
    dnnl::primitive_attr attr = default_attr();
    fuse_activation(attr, activation);
    choice.forward = conv_forward(training, src_desc, any_desc(weights), bias, dst_desc, geometry, attr);
    const MemoryDesc in = choice.forward.src_desc(), out = choice.forward.dst_desc();
    if (training) {
      choice.weights = conv_backward_weights(in, any_desc(weights), bias, out, geometry, choice.forward);
    }
    if (training && wants_diff_src) {
      choice.data = conv_backward_data(in, any_desc(weights), out, geometry, choice.forward);
    }
    return choice;
  }

  /// The library's own layouts; but where it has only its slow reference code for one of the
  /// three, as for the gradients of layers with few channels, dense ones.
  Choice choose() const {
    const MemoryDesc in = src[1] <= kFewChannels ? dense_desc(src) : any_desc(src);
    const Choice preferred = choose(in, any_desc(dst));
    const auto slow = [](const auto& desc) { return desc && is_reference(desc); };
    if (!slow(preferred.forward) && !slow(preferred.data) && !slow(preferred.weights)) return preferred;
    return choose(dense_desc(src), dense_desc(dst));
  }
};

class Conv2dOp : public Op {
 public:
  Conv2dOp(const OpConfig& config, const Conv2dDesc& desc) : desc_(desc) {
    const Shape& src = desc.src.shape;
    const int64_t c = src[1], k = desc.out_channels, groups = desc.groups;
    const auto extent = [&](int i) {
      return conv_output_extent(src[2 + i], desc.kernel[i], desc.stride[i], desc.dilation[i],
                                desc.padding[2 * i], desc.padding[2 * i + 1]);
    };
    const Shape dst{src[0], k, extent(0), extent(1)};
    const Shape weights = groups == 1 ? Shape{k, c, desc.kernel[0], desc.kernel[1]}
                                      : Shape{groups, k / groups, c / groups, desc.kernel[0], desc.kernel[1]};
    const MemoryDesc bias = desc.has_bias ? dense_desc(Shape{k}) : MemoryDesc();
    const Problem problem{
        src, dst, weights, bias, geometry_of(desc), desc.activation, config.training, desc.wants_diff_src};
    const Choice choice = problem.choose();

    const auto& forward = choice.forward;
    const MemoryDesc src_desc = forward.src_desc(), dst_desc = forward.dst_desc();
    info_.src = {from_onednn(src_desc, src, DType::kFloat32)};
    info_.dst = {from_onednn(dst_desc, dst, DType::kFloat32)};
    info_.backward_needs_dst = desc.activation != Activation::kNone;
    info_.scratchpad_bytes = size_of(forward.scratchpad_desc());
    const MemoryDesc canonical = dense_desc(weights);
    weights_ = PackedWeights(canonical, forward.weights_desc());
    forward_ = Primitive(forward, {{DNNL_ARG_SRC, src_desc},
                                   {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                                   {DNNL_ARG_BIAS, bias},
                                   {DNNL_ARG_DST, dst_desc},
                                   {DNNL_ARG_SCRATCHPAD, forward.scratchpad_desc()}});
    if (config.training) build_backward(choice, canonical, bias);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    weights_.refresh(stream, params[0].data);
    weights_for_data_.refresh(stream, params[0].data);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    forward_.run(stream, {args.src[0].data, weights_.data(args.params[0].data),
                          desc_.has_bias ? args.params[1].data : nullptr, args.dst[0].data, args.scratchpad});
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const void* diff_dst = args.diff_dst[0].data;
    if (mask_) {
      std::byte* masked = args.scratchpad + masked_offset_;
      mask_.run(stream, {args.dst[0].data, diff_dst, masked});
      diff_dst = masked;
    }
    void* diff_weights = args.diff_params[0].data;
    void* packed = unpack_ ? args.scratchpad + diff_weights_offset_ : diff_weights;
    backward_weights_.run(
        stream, {args.src[0].data, diff_dst, packed, desc_.has_bias ? args.diff_params[1].data : nullptr,
                 args.scratchpad + scratch_offset_});
    if (unpack_) unpack_.run(stream, {packed, diff_weights});
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    backward_data_.run(stream, {args.diff_src[0].data, weights_for_data_.data(args.params[0].data), diff_dst,
                                args.scratchpad + scratch_offset_});
  }

 private:
  void build_backward(const Choice& choice, const MemoryDesc& canonical, const MemoryDesc& bias) {
    const MemoryDesc src = choice.forward.src_desc(), dst = choice.forward.dst_desc();
    Pieces pieces;
    if (desc_.activation != Activation::kNone) {
      masked_offset_ = pieces.add(size_of(dst));
      const auto algorithm = algorithm_of(desc_.activation);
      mask_ = Primitive(eltwise_backward(algorithm, dst, eltwise_forward(true, algorithm, dst)),
                        {{DNNL_ARG_DST, dst}, {DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_DIFF_SRC, dst}});
    }
    const auto& weights = choice.weights;
    int64_t scratch_bytes = size_of(weights.scratchpad_desc());
    backward_weights_ = Primitive(weights, {{DNNL_ARG_SRC, src},
                                            {DNNL_ARG_DIFF_DST, dst},
                                            {DNNL_ARG_DIFF_WEIGHTS, weights.diff_weights_desc()},
                                            {DNNL_ARG_DIFF_BIAS, bias},
                                            {DNNL_ARG_SCRATCHPAD, weights.scratchpad_desc()}});
    if (weights.diff_weights_desc() != canonical) {
      diff_weights_offset_ = pieces.add(size_of(weights.diff_weights_desc()));
      unpack_ = make_reorder_primitive(weights.diff_weights_desc(), canonical);
    }
    if (const auto& data = choice.data) {
      scratch_bytes = std::max(scratch_bytes, size_of(data.scratchpad_desc()));
      weights_for_data_ = PackedWeights(canonical, data.weights_desc());
      backward_data_ = Primitive(data, {{DNNL_ARG_DIFF_SRC, src},
                                        {DNNL_ARG_WEIGHTS, data.weights_desc()},
                                        {DNNL_ARG_DIFF_DST, dst},
                                        {DNNL_ARG_SCRATCHPAD, data.scratchpad_desc()}});
    }
    scratch_offset_ = pieces.add(scratch_bytes);
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, pieces.n_bytes());
  }

  Conv2dDesc desc_;
  Primitive forward_, mask_, backward_weights_, unpack_, backward_data_;
  PackedWeights weights_, weights_for_data_;
  int64_t masked_offset_ = 0, diff_weights_offset_ = 0, scratch_offset_ = 0;  // into the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  if (config.compute != DType::kFloat32 || desc.src.dtype != DType::kFloat32) {
    throw Error("conv2d", "the CPU computes in float32 only", "set `precision: float32`");
  }
  if (prefers_direct_conv2d(config, desc)) return make_direct_conv2d(config, desc);
  return std::make_unique<Conv2dOp>(config, desc);
}

}  // namespace lockstep::cpu
