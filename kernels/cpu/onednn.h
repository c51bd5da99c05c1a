// Everything Lockstep knows of oneDNN's API: the CPU stream, the Layout that wraps a memory
// descriptor, primitives whose arguments are bound once, and builders that hide what changed
// between oneDNN 2.6 and 3.x. Errors of oneDNN become lockstep::Error.
#pragma once

#include <array>
#include <dnnl.hpp>
#include <initializer_list>
#include <optional>
#include <string>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep::cpu {

using MemoryDesc = dnnl::memory::desc;

/// The one CPU engine of the process.
const dnnl::engine& engine();

class CpuStream : public Stream {
 public:
  CpuStream() : stream_(engine()) {}
  Device device() const override { return {}; }
  void synchronize() override {}  // everything ran at submission
  dnnl_stream_t get() const { return stream_.get(); }

 private:
  dnnl::stream stream_;
};

/// A memory descriptor as the layout of a tensor.
class OneDnnLayout : public Layout {
 public:
  explicit OneDnnLayout(MemoryDesc desc) : desc_(std::move(desc)) {}
  int64_t n_bytes() const override { return static_cast<int64_t>(desc_.get_size()); }
  bool equals(const Layout& other) const override;
  /// "aBcd16b": outer dimensions in memory order, blocked ones in capitals, then the blocks.
  std::string name() const override;
  std::shared_ptr<const Layout> with_shape(const Shape& shape, DType dtype) const override;
  const MemoryDesc& desc() const { return desc_; }

 private:
  MemoryDesc desc_;
};

/// oneDNN's name of an element type. Throws Error for types it does not know.
dnnl::memory::data_type onednn_type(DType dtype);
/// Whether this CPU multiplies bfloat16 (AVX512-BF16 or AMX), so that its primitives are worth asking for.
bool has_bfloat16();
/// The same layout with elements of another type; nothing where this version cannot say it.
std::optional<MemoryDesc> with_type(const MemoryDesc& desc, DType dtype);

/// Dense row-major descriptor; a scalar becomes one element of rank 1.
MemoryDesc dense_desc(const Shape& shape, DType dtype = DType::kFloat32);
/// The library may choose the layout.
MemoryDesc any_desc(const Shape& shape, DType dtype = DType::kFloat32);
/// (N/16, C, H, W, 16): sixteen samples side by side, the last block filled up with zeros.
MemoryDesc batch_blocked_desc(const Shape& shape);
MemoryDesc to_onednn(const TensorDesc& desc);
/// layout is null where `desc` is dense row-major.
TensorDesc from_onednn(const MemoryDesc& desc, const Shape& shape, DType dtype);
inline int64_t size_of(const MemoryDesc& desc) { return static_cast<int64_t>(desc.get_size()); }

/// Throws Error naming the call and oneDNN's status.
void check(dnnl_status_t status, const char* call);

/// Runs `build` (which makes primitive descriptors) and turns a dnnl::error into an Error.
template <typename Build>
auto build_onednn(const char* what, Build build) {
  try {
    return build();
  } catch (const dnnl::error& error) {
    check(error.status, what);
    throw;
  }
}

/// A primitive with its memory objects, which are made once; run() only exchanges pointers.
class Primitive {
 public:
  static constexpr int kMaxArgs = 8;
  struct Arg {
    int id;  // DNNL_ARG_…
    MemoryDesc desc;
  };

  Primitive() = default;
  /// Arguments with an empty descriptor (no bias, no scratchpad) are left out, but keep their
  /// place in run().
  Primitive(const dnnl::primitive_desc_base& desc, std::initializer_list<Arg> args);

  explicit operator bool() const { return n_places_ > 0; }
  /// `data` in the order of the constructor's arguments. Allocates nothing.
  void run(Stream& stream, std::initializer_list<const void*> data);

 private:
  dnnl::primitive primitive_;
  std::array<dnnl::memory, kMaxArgs> memories_;
  std::array<dnnl_exec_arg_t, kMaxArgs> args_{};
  std::array<const void*, kMaxArgs> bound_{};
  int n_places_ = 0;
  std::array<int, kMaxArgs> position_{};  // place -> index in args_, or -1
  int n_args_ = 0;
};

/// Attributes of all our primitives: scratchpad from the caller; the same bits in every run.
dnnl::primitive_attr default_attr();
/// The same, with dst = f(dst) after the primitive. kNone adds nothing.
dnnl::primitive_attr attr_with(Activation activation);

// Builders of primitive descriptors ---------------------------------------------------------
// What differs between the major versions. Those of layers with weights: onednn_products.h.

/// Element-wise functions of `data`; backward takes dst where the algorithm's name says so. Of
/// algorithm_of()'s only relu6 reads alpha and beta: it clips to [alpha, beta].
dnnl::eltwise_forward::primitive_desc eltwise_forward(bool training, dnnl::algorithm algorithm,
                                                      const MemoryDesc& data, float alpha = 0.0f,
                                                      float beta = 6.0f);
dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const MemoryDesc& data,
                                                        const dnnl::eltwise_forward::primitive_desc& forward,
                                                        float alpha = 0.0f, float beta = 6.0f);

/// Whether oneDNN has no optimised code for this primitive.
bool is_reference(const dnnl::primitive_desc_base& desc);

/// A reorder from one layout to another of the same shape.
Primitive make_reorder_primitive(const MemoryDesc& from, const MemoryDesc& to);

/// oneDNN's algorithm of an activation, in the form whose backward pass reads dst.
dnnl::algorithm algorithm_of(Activation activation);

}  // namespace lockstep::cpu
