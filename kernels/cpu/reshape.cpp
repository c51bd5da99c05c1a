// Reorder between layouts with oneDNN, or a copy where both are equal.
#include "kernels/reshape.h"

#include <cstring>

#include "kernels/backend.h"
#include "kernels/cpu/onednn.h"

namespace lockstep::cpu {

namespace {

class ReorderOp : public Op {
 public:
  ReorderOp(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst) {
    info_.src = {src};
    info_.dst = {dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    if (src.same_layout(dst)) return;
    forward_ = make_reorder_primitive(to_onednn(src), to_onednn(dst));
    if (config.training) backward_ = make_reorder_primitive(to_onednn(dst), to_onednn(src));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    move(stream, forward_, args.src[0], args.dst[0]);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    move(stream, backward_, args.diff_dst[0], args.diff_src[0]);
  }

 private:
  void move(Stream& stream, Primitive& primitive, const Tensor& from, const Tensor& to) {
    if (primitive) {
      primitive.run(stream, {from.data, to.data});
    } else {
      std::memcpy(to.data, from.data, static_cast<size_t>(info_.src[0].n_bytes()));
    }
  }
  Primitive forward_, backward_;
};

}  // namespace

std::unique_ptr<Op> make_reorder(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst) {
  return std::make_unique<ReorderOp>(config, src, dst);
}

}  // namespace lockstep::cpu
