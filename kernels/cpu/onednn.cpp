// See onednn.h. This file and onednn_products.cpp are the only ones with branches on DNNL_VERSION_MAJOR.
#include "kernels/cpu/onednn.h"

#include <dnnl_debug.h>

#include <algorithm>
#include <cassert>
#include <numeric>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace lockstep::cpu {

dnnl::memory::data_type onednn_type(DType dtype) {
  using T = dnnl::memory::data_type;
  switch (dtype) {
    case DType::kFloat32: return T::f32;
    case DType::kBFloat16: return T::bf16;
    case DType::kFloat16: return T::f16;
    case DType::kInt32: return T::s32;
    case DType::kUInt8: return T::u8;
    default: break;
  }
  throw Error("cpu", "oneDNN has no type " + std::string(name_of(dtype)),
              "give the tensor as float32, bfloat16, float16, int32 or uint8");
}

namespace {

dnnl::memory::dims dims_of(const Shape& shape) {
  if (shape.rank() == 0) return {1};
  return {shape.begin(), shape.end()};
}

struct Blocking {
  std::vector<int64_t> strides;
  std::vector<std::pair<int, int64_t>> blocks;  // (dimension, extent), outermost first
};

Blocking blocking_of(const MemoryDesc& desc) {
  Blocking result;
#if DNNL_VERSION_MAJOR >= 3
  result.strides = desc.get_strides();
  const auto extents = desc.get_inner_blks();
  const auto dimensions = desc.get_inner_idxs();
  for (size_t i = 0; i < extents.size(); ++i) {
    result.blocks.emplace_back(static_cast<int>(dimensions[i]), extents[i]);
  }
#else
  const auto& data = desc.data;
  const auto& blocking = data.format_desc.blocking;
  result.strides.assign(blocking.strides, blocking.strides + data.ndims);
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    result.blocks.emplace_back(static_cast<int>(blocking.inner_idxs[i]), blocking.inner_blks[i]);
  }
#endif
  return result;
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine the_engine(dnnl::engine::kind::cpu, 0);
  return the_engine;
}

void check(dnnl_status_t status, const char* call) {
  if (status == dnnl_success) return;
  const char* text = dnnl_status2str(status);
  throw Error("oneDNN",
              std::string(call) + " failed with status " + (text ? text : "unknown") + " (" +
                  std::to_string(static_cast<int>(status)) + ")",
              status == dnnl_out_of_memory
                  ? "use a smaller micro-batch (batch.micro)"
                  : "set ONEDNN_VERBOSE=1, which makes oneDNN say more, and report it with the job file");
}

bool has_bfloat16() {
  // An instruction set's value holds the bits of all that it includes.
  constexpr auto kWanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  static const bool has = (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & kWanted) == kWanted;
  return has;
}

std::optional<MemoryDesc> with_type(const MemoryDesc& desc, DType dtype) {
#if DNNL_VERSION_MAJOR >= 3
  if (!desc.get_inner_blks().empty()) return std::nullopt;
  return MemoryDesc(desc.get_dims(), onednn_type(dtype), desc.get_strides());
#else
  MemoryDesc copy = desc;
  copy.data.data_type = dnnl::memory::convert_to_c(onednn_type(dtype));
  return copy;
#endif
}

// Layouts -------------------------------------------------------------------------------------

bool OneDnnLayout::equals(const Layout& other) const {
  const auto* same_kind = dynamic_cast<const OneDnnLayout*>(&other);
  return same_kind && same_kind->desc_ == desc_;
}

std::string OneDnnLayout::name() const {
  const Blocking blocking = blocking_of(desc_);
  std::vector<int> order(blocking.strides.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return blocking.strides[a] > blocking.strides[b]; });
  std::string text;
  for (int dimension : order) {
    const bool blocked = std::any_of(blocking.blocks.begin(), blocking.blocks.end(),
                                     [&](const auto& block) { return block.first == dimension; });
    text += static_cast<char>((blocked ? 'A' : 'a') + dimension);
  }
  for (const auto& [dimension, extent] : blocking.blocks) {
    text += std::to_string(extent) + static_cast<char>('a' + dimension);
  }
  return text;
}

MemoryDesc dense_desc(const Shape& shape, DType dtype) {
  const dnnl::memory::dims dims = dims_of(shape);
  dnnl::memory::dims strides(dims.size(), 1);
  for (size_t i = dims.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * std::max<int64_t>(dims[i], 1);
  return MemoryDesc(dims, onednn_type(dtype), strides);
}

MemoryDesc any_desc(const Shape& shape, DType dtype) {
  return MemoryDesc(dims_of(shape), onednn_type(dtype), dnnl::memory::format_tag::any);
}

std::shared_ptr<const Layout> OneDnnLayout::with_shape(const Shape& shape, DType dtype) const {
  const MemoryDesc reshaped = build_onednn("reshape of a layout", [&] {
    return desc_.reshape({shape.begin(), shape.end()});
  });
  return from_onednn(reshaped, shape, dtype).layout;
}

MemoryDesc batch_blocked_desc(const Shape& shape) {
  return MemoryDesc(dims_of(shape), dnnl::memory::data_type::f32, dnnl::memory::format_tag::Abcd16a);
}

MemoryDesc to_onednn(const TensorDesc& desc) {
  if (!desc.layout) return dense_desc(desc.shape, desc.dtype);
  const auto* layout = dynamic_cast<const OneDnnLayout*>(desc.layout.get());
  if (!layout)
    throw Error("cpu", "a tensor has a layout of another backend: " + desc.layout->name(),
                "copy it to the host as a dense tensor first");
  return layout->desc();
}

TensorDesc from_onednn(const MemoryDesc& desc, const Shape& shape, DType dtype) {
  if (desc == dense_desc(shape, dtype)) return {shape, dtype, nullptr};
  return {shape, dtype, std::make_shared<OneDnnLayout>(desc)};
}

// Primitives ----------------------------------------------------------------------------------

Primitive::Primitive(const dnnl::primitive_desc_base& desc, std::initializer_list<Arg> args) {
  assert(args.size() <= kMaxArgs);
  build_onednn("primitive", [&] {
    primitive_ = dnnl::primitive(desc.get());
    for (const Arg& arg : args) {
      position_[n_places_] = arg.desc.get_size() > 0 ? n_args_ : -1;
      if (arg.desc.get_size() > 0) {
        memories_[n_args_] = dnnl::memory(arg.desc, engine(), DNNL_MEMORY_NONE);
        args_[n_args_] = {arg.id, memories_[n_args_].get()};
        ++n_args_;
      }
      ++n_places_;
    }
    const bool has_scratchpad =
        std::any_of(args.begin(), args.end(), [](const Arg& arg) { return arg.id == DNNL_ARG_SCRATCHPAD; });
    if (!has_scratchpad && desc.scratchpad_desc().get_size() > 0) {
      throw Error("oneDNN", "a primitive needs a scratchpad that the op did not give",
                  "pass an argument DNNL_ARG_SCRATCHPAD, of the size of scratchpad_desc()");
    }
  });
}

void Primitive::run(Stream& stream, std::initializer_list<const void*> data) {
  assert(static_cast<int>(data.size()) == n_places_);
  int place = 0;
  for (const void* pointer : data) {
    const int i = position_[place++];
    if (i < 0 || bound_[i] == pointer) continue;
    check(dnnl_memory_set_data_handle(args_[i].memory, const_cast<void*>(pointer)),
          "dnnl_memory_set_data_handle");
    bound_[i] = pointer;
  }
  check(
      dnnl_primitive_execute(primitive_.get(), static_cast<CpuStream&>(stream).get(), n_args_, args_.data()),
      "dnnl_primitive_execute");
}

dnnl::primitive_attr default_attr() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR > 3 || (DNNL_VERSION_MAJOR == 3 && DNNL_VERSION_MINOR >= 3)
  attr.set_deterministic(true);
#endif
  return attr;
}

dnnl::algorithm algorithm_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu: return dnnl::algorithm::eltwise_relu_use_dst_for_bwd;
    case Activation::kTanh: return dnnl::algorithm::eltwise_tanh_use_dst_for_bwd;
    case Activation::kSigmoid: return dnnl::algorithm::eltwise_logistic_use_dst_for_bwd;
    case Activation::kRelu6: return dnnl::algorithm::eltwise_clip_v2_use_dst_for_bwd;
    case Activation::kNone: break;
  }
  throw Error("activation", "oneDNN needs an activation other than none",
              "leave the activation out of the primitive instead");
}

dnnl::primitive_attr attr_with(Activation activation) {
  dnnl::primitive_attr attr = default_attr();
  if (activation == Activation::kNone) return attr;
  // As a post-op the plain forms are faster in some implementations; forward they are equal.
  const auto algorithm = activation == Activation::kRelu    ? dnnl::algorithm::eltwise_relu
                         : activation == Activation::kRelu6 ? dnnl::algorithm::eltwise_clip
                         : activation == Activation::kTanh  ? dnnl::algorithm::eltwise_tanh
                                                            : dnnl::algorithm::eltwise_logistic;
  const float limit = activation == Activation::kRelu6 ? 6.0f : 0.0f;  // clip to [0, limit]
  dnnl::post_ops ops;
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, 0.0f, limit);
#else
  ops.append_eltwise(1.0f, algorithm, 0.0f, limit);
#endif
  attr.set_post_ops(ops);
  return attr;
}

// Builders ------------------------------------------------------------------------------------

namespace {
dnnl::prop_kind forward_kind(bool training) {
  return training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
}
}  // namespace

#if DNNL_VERSION_MAJOR >= 3

dnnl::eltwise_forward::primitive_desc eltwise_forward(bool training, dnnl::algorithm algorithm,
                                                      const MemoryDesc& data, float alpha, float beta) {
  return build_onednn("eltwise forward", [&] {
    return dnnl::eltwise_forward::primitive_desc(engine(), forward_kind(training), algorithm, data, data,
                                                 alpha, beta, default_attr());
  });
}

dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const MemoryDesc& data,
                                                        const dnnl::eltwise_forward::primitive_desc& forward,
                                                        float alpha, float beta) {
  return build_onednn("eltwise backward", [&] {
    return dnnl::eltwise_backward::primitive_desc(engine(), algorithm, data, data, data, alpha, beta, forward,
                                                  default_attr());
  });
}

#else  // oneDNN 2.6: an operation descriptor first, then the primitive descriptor

dnnl::eltwise_forward::primitive_desc eltwise_forward(bool training, dnnl::algorithm algorithm,
                                                      const MemoryDesc& data, float alpha, float beta) {
  return build_onednn("eltwise forward", [&] {
    const dnnl::eltwise_forward::desc desc(forward_kind(training), algorithm, data, alpha, beta);
    return dnnl::eltwise_forward::primitive_desc(desc, default_attr(), engine());
  });
}

dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const MemoryDesc& data,
                                                        const dnnl::eltwise_forward::primitive_desc& forward,
                                                        float alpha, float beta) {
  return build_onednn("eltwise backward", [&] {
    const dnnl::eltwise_backward::desc desc(algorithm, data, data, alpha, beta);
    return dnnl::eltwise_backward::primitive_desc(desc, default_attr(), engine(), forward);
  });
}

#endif

bool is_reference(const dnnl::primitive_desc_base& desc) {
  return std::string_view(desc.impl_info_str()).starts_with("ref");
}

Primitive make_reorder_primitive(const MemoryDesc& from, const MemoryDesc& to) {
  return build_onednn("reorder", [&] {
    const dnnl::reorder::primitive_desc desc(engine(), from, engine(), to);
    return Primitive(desc, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  });
}

}  // namespace lockstep::cpu
