// See onednn_products.h.
#include "kernels/cpu/onednn_products.h"

#include <algorithm>

#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

using Query = dnnl::query;

// The operands of a primitive are the same in all versions; 2.6 puts them into a descriptor of
// the operation first.
template <typename Primitive, typename... Operands>
dnnl::primitive_desc_base forward_desc(const char* name, const dnnl::primitive_attr& attr,
                                       const Operands&... operands) {
  return build_onednn(name, [&]() -> dnnl::primitive_desc_base {
#if DNNL_VERSION_MAJOR >= 3
    return typename Primitive::primitive_desc(engine(), operands..., attr);
#else
    return typename Primitive::primitive_desc(typename Primitive::desc(operands...), attr, engine());
#endif
  });
}

template <typename Primitive, typename Forward, typename... Operands>
dnnl::primitive_desc_base backward_desc(const char* name, const dnnl::primitive_desc_base& forward,
                                        const Operands&... operands) {
  return build_onednn(name, [&]() -> dnnl::primitive_desc_base {
    typename Forward::primitive_desc hint;
    static_cast<dnnl::primitive_desc_base&>(hint) = forward;
#if DNNL_VERSION_MAJOR >= 3
    return typename Primitive::primitive_desc(engine(), operands..., hint, default_attr());
#else
    return typename Primitive::primitive_desc(typename Primitive::desc(operands...), default_attr(), engine(),
                                              hint);
#endif
  });
}

/// What differs between the kinds: the types of the primitives, and operands around the tensors.
template <typename Forward, typename Data, typename Weights>
ProductPrimitives convolution(const ProductProblem& p, dnnl::algorithm algorithm, const MemoryDesc& src,
                              const MemoryDesc& dst, const MemoryDesc& weights,
                              const MemoryDesc& diff_weights, const MemoryDesc& bias,
                              dnnl::prop_kind forward_kind) {
  const ConvGeometry& g = p.geometry;
  ProductPrimitives made;
  made.forward =
      forward_desc<Forward>("convolution forward", attr_with(p.activation), forward_kind, algorithm, src,
                            weights, bias, dst, g.stride, g.dilation, g.pad_begin, g.pad_end);
  const MemoryDesc in = made.src_desc(), out = made.dst_desc();
  if (p.training) {
    made.weights = backward_desc<Weights, Forward>("convolution backward weights", made.forward, algorithm,
                                                   in, diff_weights, bias, out, g.stride, g.dilation,
                                                   g.pad_begin, g.pad_end);
  }
  if (p.training && p.wants_diff_src) {
    made.data = backward_desc<Data, Forward>("convolution backward data", made.forward, algorithm, in,
                                             weights, out, g.stride, g.dilation, g.pad_begin, g.pad_end);
  }
  return made;
}

ProductPrimitives inner_product(const ProductProblem& p, const MemoryDesc& src, const MemoryDesc& dst,
                                const MemoryDesc& weights, const MemoryDesc& diff_weights,
                                const MemoryDesc& bias, dnnl::prop_kind forward_kind) {
  using Forward = dnnl::inner_product_forward;
  ProductPrimitives made;
  made.forward = forward_desc<Forward>("inner product forward", attr_with(p.activation), forward_kind, src,
                                       weights, bias, dst);
  const MemoryDesc in = made.src_desc(), out = made.dst_desc();
  if (p.training) {
    made.weights = backward_desc<dnnl::inner_product_backward_weights, Forward>(
        "inner product backward weights", made.forward, in, diff_weights, bias, out);
  }
  if (p.training && p.wants_diff_src) {
    made.data = backward_desc<dnnl::inner_product_backward_data, Forward>("inner product backward data",
                                                                          made.forward, in, weights, out);
  }
  return made;
}

}  // namespace

PackedWeights::PackedWeights(const MemoryDesc& canonical, const MemoryDesc& wanted) {
  if (canonical == wanted) return;
  copy_ = Memory(Device{}, size_of(wanted));
  reorder_ = make_reorder_primitive(canonical, wanted);
}

bool ProductPrimitives::has_reference() const {
  for (const dnnl::primitive_desc_base* desc : {&forward, &data, &weights}) {
    if (*desc && is_reference(*desc)) return true;
  }
  return false;
}

ProductPrimitives make_primitives(const ProductProblem& p, const MemoryDesc& src, const MemoryDesc& dst) {
  const MemoryDesc weights = any_desc(p.weights, p.dtype), diff_weights = any_desc(p.weights);
  const MemoryDesc bias = p.has_bias ? dense_desc(Shape{p.dst[1]}) : MemoryDesc();
  const auto kind = p.training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
  switch (p.kind) {
    case ProductProblem::Kind::kConvolution:
      return convolution<dnnl::convolution_forward, dnnl::convolution_backward_data,
                         dnnl::convolution_backward_weights>(p, dnnl::algorithm::convolution_direct, src, dst,
                                                             weights, diff_weights, bias, kind);
    case ProductProblem::Kind::kDeconvolution:
      return convolution<dnnl::deconvolution_forward, dnnl::deconvolution_backward_data,
                         dnnl::deconvolution_backward_weights>(p, dnnl::algorithm::deconvolution_direct, src,
                                                               dst, weights, diff_weights, bias, kind);
    case ProductProblem::Kind::kInnerProduct:
      return inner_product(p, src, dst, weights, diff_weights, bias, kind);
  }
  return {};
}

ProductPrimitives choose_primitives(const ProductProblem& p) {
  ProductProblem training = p;
  training.training = true;
  // Images stay (N, C, H, W): padding of their channels to 16 would waste work.
  constexpr int64_t kFewChannels = 3;
  const MemoryDesc in = p.src[1] <= kFewChannels ? dense_desc(p.src) : any_desc(p.src);
  ProductPrimitives preferred = make_primitives(training, in, any_desc(p.dst));
  if (preferred.has_reference()) preferred = make_primitives(training, dense_desc(p.src), dense_desc(p.dst));
  return p.training ? preferred : make_primitives(p, preferred.src_desc(), preferred.dst_desc());
}

std::unique_ptr<Op> make_bfloat16_product(const ProductProblem& problem) {
  if (!has_bfloat16()) return nullptr;
  try {
    const ProductPrimitives made =
        make_primitives(problem, any_desc(problem.src, problem.dtype), any_desc(problem.dst, problem.dtype));
    if (!made.has_reference()) return std::make_unique<ProductOp>(problem, made);
  } catch (const Error&) {  // not in this version
  }
  return nullptr;
}

ProductOp::ProductOp(const ProductProblem& problem, const ProductPrimitives& primitives)
    : has_bias_(problem.has_bias) {
  const dnnl::primitive_desc_base& forward = primitives.forward;
  const MemoryDesc src = primitives.src_desc(), dst = primitives.dst_desc();
  const MemoryDesc weights = forward.query_md(Query::weights_md), scratchpad = forward.scratchpad_desc();
  const MemoryDesc bias = has_bias_ ? dense_desc(Shape{problem.dst[1]}) : MemoryDesc();
  info_.src = {from_onednn(src, problem.src, problem.dtype)};
  info_.dst = {from_onednn(dst, problem.dst, problem.dtype)};
  info_.backward_needs_dst = problem.activation != Activation::kNone;
  info_.scratchpad_bytes = size_of(scratchpad);
  weights_ = PackedWeights(problem.canonical, weights);
  forward_ = Primitive(forward, {{DNNL_ARG_SRC, src},
                                 {DNNL_ARG_WEIGHTS, weights},
                                 {DNNL_ARG_BIAS, bias},
                                 {DNNL_ARG_DST, dst},
                                 {DNNL_ARG_SCRATCHPAD, scratchpad}});
  if (problem.training) build_backward(problem, primitives, bias);
}

void ProductOp::build_backward(const ProductProblem& problem, const ProductPrimitives& primitives,
                               const MemoryDesc& bias) {
  const MemoryDesc src = primitives.src_desc(), dst = primitives.dst_desc();
  Pieces pieces;
  if (problem.activation != Activation::kNone) {
    masked_offset_ = pieces.add(size_of(dst));
    const auto algorithm = algorithm_of(problem.activation);
    mask_ = Primitive(eltwise_backward(algorithm, dst, eltwise_forward(true, algorithm, dst)),
                      {{DNNL_ARG_DST, dst}, {DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_DIFF_SRC, dst}});
  }
  const auto& weights = primitives.weights;
  const MemoryDesc diff_weights = weights.query_md(Query::diff_weights_md);
  int64_t scratch_bytes = size_of(weights.scratchpad_desc());
  backward_weights_ = Primitive(weights, {{DNNL_ARG_SRC, src},
                                          {DNNL_ARG_DIFF_DST, dst},
                                          {DNNL_ARG_DIFF_WEIGHTS, diff_weights},
                                          {DNNL_ARG_DIFF_BIAS, bias},
                                          {DNNL_ARG_SCRATCHPAD, weights.scratchpad_desc()}});
  int64_t packed_bytes = 0;
  if (diff_weights != problem.canonical) {
    packed_bytes = size_of(diff_weights);
    unpack_ = make_reorder_primitive(diff_weights, problem.canonical);
  }
  if (const auto& data = primitives.data) {
    const MemoryDesc weights_for_data = data.query_md(Query::weights_md);
    scratch_bytes = std::max(scratch_bytes, size_of(data.scratchpad_desc()));
    data_takes_forward_weights_ = weights_for_data == primitives.forward.query_md(Query::weights_md);
    if (!data_takes_forward_weights_ && weights_for_data != problem.canonical) {
      packed_bytes = std::max(packed_bytes, size_of(weights_for_data));
      pack_for_data_ = make_reorder_primitive(problem.canonical, weights_for_data);
    }
    backward_data_ = Primitive(data, {{DNNL_ARG_DIFF_SRC, src},
                                      {DNNL_ARG_WEIGHTS, weights_for_data},
                                      {DNNL_ARG_DIFF_DST, dst},
                                      {DNNL_ARG_SCRATCHPAD, data.scratchpad_desc()}});
  }
  packed_offset_ = pieces.add(packed_bytes);
  scratch_offset_ = pieces.add(scratch_bytes);
  info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, pieces.n_bytes());
}

void ProductOp::prepare(Stream& stream, std::span<const Tensor> params) {
  weights_.refresh(stream, params[0].data);
}

void ProductOp::forward(Stream& stream, const OpArgs& args) {
  forward_.run(stream, {args.src[0].data, weights_.data(args.params[0].data),
                        has_bias_ ? args.params[1].data : nullptr, args.dst[0].data, args.scratchpad});
}

void ProductOp::backward(Stream& stream, const OpArgs& args) {
  const void* diff_dst = args.diff_dst[0].data;
  if (mask_) {
    std::byte* masked = args.scratchpad + masked_offset_;
    mask_.run(stream, {args.dst[0].data, diff_dst, masked});
    diff_dst = masked;
  }
  void* diff_weights = args.diff_params[0].data;
  std::byte* const packed_place = args.scratchpad + packed_offset_;
  void* packed = unpack_ ? packed_place : diff_weights;
  backward_weights_.run(stream,
                        {args.src[0].data, diff_dst, packed, has_bias_ ? args.diff_params[1].data : nullptr,
                         args.scratchpad + scratch_offset_});
  if (unpack_) unpack_.run(stream, {packed, diff_weights});
  if (!backward_data_ || args.diff_src.empty() || args.diff_src[0].empty()) return;
  const void* weights = args.params[0].data;
  if (data_takes_forward_weights_) weights = weights_.data(weights);
  if (pack_for_data_) {
    pack_for_data_.run(stream, {weights, packed_place});
    weights = packed_place;
  }
  backward_data_.run(stream, {args.diff_src[0].data, weights, diff_dst, args.scratchpad + scratch_offset_});
}

}  // namespace lockstep::cpu
