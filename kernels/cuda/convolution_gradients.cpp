#include "kernels/cuda/convolution_gradients.h"

#include <algorithm>

#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

ConvolutionGradients::ConvolutionGradients(const OpConfig& config, const ConvolutionDesc& desc,
                                           const ConvolutionWeights& weights, const Output& output,
                                           bool wants_diff_src, bool transposed)
    : dtype_(desc.dtype),
      weights_(weights),
      output_(output),
      transposed_(transposed),
      diff_weights_(config.device, desc, weights) {
  int64_t rest = std::max(diff_weights_.scratch_bytes(),
                          backward_epilogue_bytes(output.has_bias, output.pixels, output.channels));
  if (wants_diff_src) {
    using Pass = Convolution::Pass;
    diff_src_ = make_convolution(config.device, transposed ? Pass::kForward : Pass::kBackwardData, desc);
    rest = std::max(rest, diff_src_->workspace_bytes());
  }
  Scratch scratch;
  const bool masks = output.activation != Activation::kNone;
  masked_ = scratch.take(masks ? output.pixels * output.channels * size_of(dtype_) : 0);
  rest_ = scratch.take(rest);
  scratchpad_bytes_ = scratch.n_bytes();
}

void ConvolutionGradients::run(Stream& stream, const OpArgs& args) {
  void* diff_dst = args.diff_dst[0].data;
  std::byte* masked = args.scratchpad + masked_;
  std::byte* rest = args.scratchpad + rest_;
  float* diff_bias = output_.has_bias ? args.diff_params[1].as<float>() : nullptr;
  backward_epilogue(stream, dtype_, output_.activation, output_.pixels, output_.channels, args.dst[0].data,
                    diff_dst, masked, diff_bias, rest);
  if (output_.activation != Activation::kNone) diff_dst = masked;
  void* src = args.src[0].data;
  diff_weights_.run(stream, transposed_ ? diff_dst : src, transposed_ ? src : diff_dst,
                    args.diff_params[0].as<float>(), rest);
  if (args.diff_src.empty() || args.diff_src[0].empty()) return;
  void* diff_src = args.diff_src[0].data;
  diff_src_->run(stream, transposed_ ? diff_dst : diff_src, weights_.data(args.params[0]), nullptr,
                 transposed_ ? diff_src : diff_dst, rest);
}

}  // namespace lockstep::cuda
