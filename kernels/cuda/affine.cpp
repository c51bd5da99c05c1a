// Affine on GPUs: three matrix products. Bias and relu close the forward one; the other activations run
// in place behind it. float32 products read the canonical weights, others a copy in the type of the
// activations, which prepare() refreshes.
#include "kernels/affine.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack_weights.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

namespace {

class AffineOp : public Op {
 public:
  AffineOp(const OpConfig& config, const AffineDesc& desc)
      : desc_(desc),
        dtype_(config.compute),
        rows_(AffineExtents(desc).rows),
        in_(AffineExtents(desc).in),
        out_(desc.out_features) {
    info_.src = {{desc.src.shape, dtype_, nullptr}};
    info_.dst = {{AffineExtents(desc).dst, dtype_, nullptr}};
    info_.backward_needs_dst = masks();
    if (copies()) {
      weights_ = Memory(config.device, out_ * in_ * size_of(dtype_));
      if (desc.has_bias) bias_ = Memory(config.device, out_ * size_of(dtype_));
    }
    MatmulDesc forward{.m = rows_, .n = out_, .k = in_, .transpose_b = true, .src = dtype_, .dst = dtype_};
    forward.tf32 = config.tf32;
    forward.has_bias = desc.has_bias;
    forward.relu = desc.activation == Activation::kRelu;
    forward_ = Matmul(config.device, forward);
    info_.scratchpad_bytes = forward_.workspace_bytes();
    if (config.training) make_backward(config);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    if (!copies()) return;
    convert_weights(stream, dtype_, out_ * in_, params[0].as<const float>(), weights_.data());
    if (desc_.has_bias) convert_weights(stream, dtype_, out_, params[1].as<const float>(), bias_.data());
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const void* bias = nullptr;
    if (desc_.has_bias) bias = copies() ? bias_.data() : args.params[1].data;
    forward_.run(stream, args.src[0].data, weights(args), bias, args.dst[0].data, args.scratchpad);
    if (masks() && desc_.activation != Activation::kRelu)
      add_bias(stream, dtype_, desc_.activation, rows_, out_, nullptr, args.dst[0].data);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const void* diff_dst = args.diff_dst[0].data;
    std::byte* masked = args.scratchpad + masked_;
    std::byte* workspace = args.scratchpad + workspace_;
    float* diff_bias = desc_.has_bias ? args.diff_params[1].as<float>() : nullptr;
    backward_epilogue(stream, dtype_, desc_.activation, rows_, out_, args.dst[0].data, diff_dst, masked,
                      diff_bias, workspace);
    if (masks()) diff_dst = masked;
    diff_weights_.run(stream, diff_dst, args.src[0].data, nullptr, args.diff_params[0].data, workspace);
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    diff_src_.run(stream, diff_dst, weights(args), nullptr, args.diff_src[0].data, workspace);
  }

 private:
  bool masks() const { return desc_.activation != Activation::kNone; }
  bool copies() const { return dtype_ != DType::kFloat32; }
  const void* weights(const OpArgs& args) const { return copies() ? weights_.data() : args.params[0].data; }

  void make_backward(const OpConfig& config) {
    diff_weights_ = Matmul(config.device, {.m = out_,
                                           .n = in_,
                                           .k = rows_,
                                           .transpose_a = true,
                                           .src = dtype_,
                                           .dst = DType::kFloat32,
                                           .tf32 = config.tf32});
    int64_t workspace =
        std::max(diff_weights_.workspace_bytes(), backward_epilogue_bytes(desc_.has_bias, rows_, out_));
    if (desc_.wants_diff_src) {
      diff_src_ =
          Matmul(config.device,
                 {.m = rows_, .n = in_, .k = out_, .src = dtype_, .dst = dtype_, .tf32 = config.tf32});
      workspace = std::max(workspace, diff_src_.workspace_bytes());
    }
    Scratch scratch;
    masked_ = scratch.take(masks() ? rows_ * out_ * size_of(dtype_) : 0);
    workspace_ = scratch.take(workspace);
    info_.scratchpad_bytes = std::max(info_.scratchpad_bytes, scratch.n_bytes());
  }

  AffineDesc desc_;
  DType dtype_;
  int64_t rows_, in_, out_;  // N, I, O
  Matmul forward_, diff_weights_, diff_src_;
  Memory weights_, bias_;               // in dtype_
  int64_t masked_ = 0, workspace_ = 0;  // of the backward pass, in the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_affine(const OpConfig& config, const AffineDesc& desc) {
  return std::make_unique<AffineOp>(config, desc);
}

}  // namespace lockstep::cuda
