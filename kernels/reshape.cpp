// Reshape is a view, the same on every device; reorder checks and switches to a backend.
#include "kernels/reshape.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

class ReshapeOp : public Op {
 public:
  ReshapeOp(const TensorDesc& src, const TensorDesc& dst) {
    info_.src = {src};
    info_.dst = {dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    info_.aliases_src = true;
  }
  void forward(Stream&, const OpArgs&) override {}
  void backward(Stream&, const OpArgs&) override {}
};

}  // namespace

std::unique_ptr<Op> make_reshape(const OpConfig&, const TensorDesc& src, const Shape& shape) {
  if (src.n_elements() != shape.n_elements()) {
    throw Error("reshape", src.shape.str() + " does not have the elements of " + shape.str(),
                "the product of the extents must stay");
  }
  return std::make_unique<ReshapeOp>(src.dense(), TensorDesc{shape, src.dtype, nullptr});
}

std::unique_ptr<Op> make_identity(const OpConfig&, const TensorDesc& src) {
  return std::make_unique<ReshapeOp>(src, src);
}

std::unique_ptr<Op> make_reorder(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst) {
  const auto is_float = [&config](DType dtype) { return is_activation_type(config.device, dtype); };
  if (src.shape != dst.shape || (src.dtype != dst.dtype && !(is_float(src.dtype) && is_float(dst.dtype)))) {
    throw Error("reorder",
                "shapes must agree, and types unless both are types of activations: " + src.shape.str() +
                    " " + std::string(name_of(src.dtype)) + " and " + dst.shape.str() + " " +
                    std::string(name_of(dst.dtype)),
                "reorder between equal shapes; other changes of type are made where data is loaded");
  }
  return config.device.kind == Device::Kind::kCpu ? cpu::make_reorder(config, src, dst)
                                                  : cuda::make_reorder(config, src, dst);
}

}  // namespace lockstep
