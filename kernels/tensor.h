// A Tensor is a non-owning view: where the elements are, their type, shape and layout.
// A TensorDesc is the same without the place; ops are built from descriptors.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

/// A memory format that a backend prefers over dense row-major order, such as oneDNN's
/// nChw16c. Opaque outside the backend that made it.
class Layout {
 public:
  virtual ~Layout() = default;
  virtual int64_t n_bytes() const = 0;  // padding included
  virtual bool equals(const Layout& other) const = 0;
  virtual std::string name() const = 0;
  /// The same memory as a tensor of another shape that differs by extents of 1.
  virtual std::shared_ptr<const Layout> with_shape(const Shape& shape, DType dtype) const = 0;
};

struct TensorDesc {
  Shape shape;
  DType dtype = DType::kFloat32;
  std::shared_ptr<const Layout> layout;  // null: dense row-major

  int64_t n_elements() const { return shape.n_elements(); }
  int64_t n_bytes() const { return layout ? layout->n_bytes() : n_elements() * size_of(dtype); }
  bool same_layout(const TensorDesc& other) const {
    if (!layout || !other.layout) return layout == other.layout;
    return layout->equals(*other.layout);
  }
  /// Equal in memory: element type and layout (the shapes are compared by who asks).
  bool same_form(const TensorDesc& other) const { return dtype == other.dtype && same_layout(other); }
  /// The same tensor in dense row-major order.
  TensorDesc dense() const { return {shape, dtype, nullptr}; }
};

struct Tensor {
  void* data = nullptr;
  TensorDesc desc;

  bool empty() const { return data == nullptr; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace lockstep
