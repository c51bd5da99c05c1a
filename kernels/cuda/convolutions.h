// The choice of how a pass of a convolution is computed, a fixed rule on its shape, and the weights in
// the form that all its passes want. conv2d and conv_transpose2d stand on it.
//   depthwise (groups = C): own kernels (depthwise_conv2d.cu), weights (kh, kw, K);
//   1 x 1 without stride, padding and groups: matrix products (cuBLASLt), weights (K, C);
//   all others: cuDNN, weights (K, kh, kw, C / groups).
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/cuda/convolution.h"
#include "kernels/device.h"
#include "kernels/op.h"

namespace lockstep::cuda {

bool is_depthwise(const ConvolutionDesc& desc);
bool is_pointwise(const ConvolutionDesc& desc);

/// Null where this pass is not to be had in one step, which happens for passes with bias or relu and for
/// kBackwardWeightsFloat32 only; for others Error.
std::unique_ptr<Convolution> make_convolution(Device device, Convolution::Pass pass,
                                              const ConvolutionDesc& desc);

/// Own kernels; desc is depthwise. Any pass but kBackwardWeights, since … Float32 is to be had.
std::unique_ptr<Convolution> make_depthwise(Convolution::Pass pass, const ConvolutionDesc& desc);
/// Matrix products; desc is pointwise. Any pass.
std::unique_ptr<Convolution> make_pointwise(Device device, Convolution::Pass pass,
                                            const ConvolutionDesc& desc);

/// Weights as passes read them: the arena's own where form and type are the same, else a copy.
class ConvolutionWeights {
 public:
  ConvolutionWeights(const OpConfig& config, const ConvolutionDesc& desc);
  /// weights (K, C / groups, kh, kw) float32
  void prepare(Stream& stream, const Tensor& weights);
  void* data(const Tensor& weights) const { return copies() ? copy_.data() : weights.data; }

 private:
  friend class WeightsGradient;
  bool copies() const { return copy_.data() != nullptr; }
  DType dtype_;
  int64_t outer_, channels_, taps_;  // as pack_weights takes them
  bool swaps_;                       // the packed form is not the canonical one
  Memory copy_;
};

/// The pass for the gradient of the weights, and the way back to the canonical form.
class WeightsGradient {
 public:
  WeightsGradient(Device device, const ConvolutionDesc& desc, const ConvolutionWeights& weights);
  /// Bytes of `scratch` below.
  int64_t scratch_bytes() const;
  /// diff_weights (K, C / groups, kh, kw) float32
  void run(Stream& stream, void* src, void* diff_dst, float* diff_weights, std::byte* scratch);

 private:
  std::unique_ptr<Convolution> pass_;
  DType dtype_;  // of the pass's result
  int64_t outer_, channels_, taps_;
  bool swaps_;
  int64_t packed_bytes_;  // 0: the result is the gradient
};

}  // namespace lockstep::cuda
