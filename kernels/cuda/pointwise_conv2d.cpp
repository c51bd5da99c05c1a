// Convolution by 1 x 1 weights: pixels are the rows of a matrix, so that every pass is one product.
#include <utility>

#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/matmul.h"

namespace lockstep::cuda {

namespace {

using Pass = Convolution::Pass;

class PointwiseConvolution : public Convolution {
 public:
  PointwiseConvolution(Device device, Pass pass, const ConvolutionDesc& d)
      : pass_(pass), product_(device, product_of(pass, d)) {}

  int64_t workspace_bytes() const override { return product_.workspace_bytes(); }

  void run(Stream& stream, void* src, void* weights, const void* bias, void* dst, void* workspace) override {
    switch (pass_) {
      case Pass::kBackwardData: return product_.run(stream, dst, weights, nullptr, src, workspace);
      case Pass::kBackwardWeights:
      case Pass::kBackwardWeightsFloat32: return product_.run(stream, dst, src, nullptr, weights, workspace);
      default: return product_.run(stream, src, weights, bias, dst, workspace);
    }
  }

 private:
  static MatmulDesc product_of(Pass pass, const ConvolutionDesc& d) {
    const int64_t pixels = d.n * d.h * d.w;
    MatmulDesc product{.src = d.dtype, .dst = d.dtype, .tf32 = d.tf32};
    const auto set = [&](int64_t m, int64_t n, int64_t k) { product.m = m, product.n = n, product.k = k; };
    switch (pass) {
      case Pass::kBackwardData: set(pixels, d.c, d.k); break;
      case Pass::kBackwardWeightsFloat32: product.dst = DType::kFloat32; [[fallthrough]];
      case Pass::kBackwardWeights:
        set(d.k, d.c, pixels);
        product.transpose_a = true;
        break;
      default:
        set(pixels, d.k, d.c);
        product.transpose_b = true;
        product.has_bias = pass == Pass::kForwardBias || pass == Pass::kForwardBiasRelu;
        product.relu = pass == Pass::kForwardRelu || pass == Pass::kForwardBiasRelu;
    }
    return product;
  }

  Pass pass_;
  Matmul product_;
};

}  // namespace

std::unique_ptr<Convolution> make_pointwise(Device device, Pass pass, const ConvolutionDesc& desc) {
  return std::make_unique<PointwiseConvolution>(device, pass, desc);
}

}  // namespace lockstep::cuda
