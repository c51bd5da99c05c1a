// Backward of conv2d and conv_transpose2d, which differ in the side of the convolution that is theirs to
// read: behind the epilogue (activation, bias) come the gradients of weights and src.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/activation.h"
#include "kernels/cuda/convolutions.h"

namespace lockstep::cuda {

class ConvolutionGradients {
 public:
  /// What the op writes: (pixels, channels), with bias and activation in its epilogue.
  struct Output {
    int64_t pixels, channels;
    bool has_bias;
    Activation activation;
  };
  /// transposed: the op's src is the dst of `desc`. `weights` must outlive this.
  ConvolutionGradients(const OpConfig& config, const ConvolutionDesc& desc, const ConvolutionWeights& weights,
                       const Output& output, bool wants_diff_src, bool transposed);
  /// Bytes of args.scratchpad.
  int64_t scratchpad_bytes() const { return scratchpad_bytes_; }
  /// Writes diff_params and, if wanted, diff_src.
  void run(Stream& stream, const OpArgs& args);

 private:
  DType dtype_;
  const ConvolutionWeights& weights_;
  Output output_;
  bool transposed_;
  WeightsGradient diff_weights_;
  std::unique_ptr<Convolution> diff_src_;
  int64_t masked_ = 0, rest_ = 0, scratchpad_bytes_ = 0;  // offsets in the scratchpad, and its size
};

}  // namespace lockstep::cuda
