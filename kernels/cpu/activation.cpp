// Activations through oneDNN's element-wise primitives, in the forms whose backward pass reads
// dst only. Padding of blocked layouts stays zero.
#include "kernels/activation.h"

#include "kernels/backend.h"
#include "kernels/cpu/onednn.h"
#include "kernels/reshape.h"

namespace lockstep::cpu {

namespace {

class ActivationOp : public Op {
 public:
  ActivationOp(const OpConfig& config, const ActivationDesc& desc) {
    info_.src = {desc.src};
    info_.dst = {desc.src};
    info_.backward_needs_src = false;
    // A dense tensor is one row: any rank, and no limit of oneDNN's on it.
    const MemoryDesc data =
        desc.src.layout ? to_onednn(desc.src) : dense_desc(Shape{desc.src.n_elements()}, desc.src.dtype);
    const auto algorithm = algorithm_of(desc.activation);
    const auto forward = eltwise_forward(config.training, algorithm, data);
    forward_ = Primitive(forward, {{DNNL_ARG_SRC, data}, {DNNL_ARG_DST, data}});
    if (!config.training) return;
    backward_ = Primitive(eltwise_backward(algorithm, data, forward),
                          {{DNNL_ARG_DST, data}, {DNNL_ARG_DIFF_DST, data}, {DNNL_ARG_DIFF_SRC, data}});
  }

  void forward(Stream& stream, const OpArgs& args) override {
    forward_.run(stream, {args.src[0].data, args.dst[0].data});
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    backward_.run(stream, {args.dst[0].data, args.diff_dst[0].data, args.diff_src[0].data});
  }

 private:
  Primitive forward_, backward_;
};

}  // namespace

std::unique_ptr<Op> make_activation(const OpConfig& config, const ActivationDesc& desc) {
  if (desc.activation == Activation::kNone) return lockstep::make_reorder(config, desc.src, desc.src);
  return std::make_unique<ActivationOp>(config, desc);
}

}  // namespace lockstep::cpu
