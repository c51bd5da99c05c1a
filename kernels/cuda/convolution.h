// Convolutions on GPUs: one pass of fixed shapes, prepared once (cuDNN: the graph of operations and the
// engine) and run many times. Images are channels-last, weights (K, kh, kw, C / groups). Sums are float32
// in an order that depends on shapes, types and the GPU model only. Free of the library's headers: tests
// put naive loops behind the same class.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep::cuda {

/// dst (N, P, Q, K) = f(conv(src (N, H, W, C), weights (K, kh, kw, C / groups)) + bias (K)).
struct ConvolutionDesc {
  int64_t n = 0, c = 0, h = 0, w = 0;  // src
  int64_t k = 0, p = 0, q = 0;         // dst
  std::array<int64_t, 2> kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right; zeros
  int64_t groups = 1;
  DType dtype = DType::kFloat32;  // of images, weights and bias
  bool tf32 = false;              // float32 factors may be rounded to 10 bits
  int64_t workspace_limit = 0;    // bytes; OpConfig::convolution_workspace_bytes
};

class Convolution {
 public:
  enum class Pass : uint8_t {
    kForward,                // dst of src and weights
    kForwardBias,            // … and bias
    kForwardBiasRelu,        // … and then relu; whether NaN stays NaN is the library's choice
    kForwardRelu,            // cuDNN 9.19 fuses it on no shape that was asked for
    kBackwardData,           // src of weights and dst: their gradients
    kBackwardWeights,        // weights of src and dst
    kBackwardWeightsFloat32  // … as float32, whatever dtype is
  };

  /// Null if cuDNN has no engine within the rules of convolution.cpp; who asks then does it in more
  /// steps, or throws no_engine().
  static std::unique_ptr<Convolution> make(Device device, Pass pass, const ConvolutionDesc& desc);
  virtual ~Convolution() = default;

  virtual int64_t workspace_bytes() const = 0;
  /// Writes the tensor that the pass names and reads the others; bias only in passes with it. All are
  /// aligned to 16 bytes, workspace to 256. One thread at a time.
  virtual void run(Stream& stream, void* src, void* weights, const void* bias, void* dst,
                   void* workspace) = 0;
};

/// Of cuDNN, as it runs: "9.19.0".
std::string convolution_library_version();

/// Error: no engine for this pass, with the shapes and what to change.
[[noreturn]] void no_engine(Convolution::Pass pass, const ConvolutionDesc& desc);

}  // namespace lockstep::cuda
