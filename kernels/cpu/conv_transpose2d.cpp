// Transposed convolution on the CPU with oneDNN's deconvolution, which runs the gradient kernels
// of its convolutions: blocked layouts as there.
#include "kernels/conv_transpose2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/onednn_products.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

/// The parameter (C, K/G, kh, kw) as oneDNN counts its dimensions: (G, K/G, C/G, kh, kw).
MemoryDesc canonical_weights(const Shape& weights) {
  const int first = weights.rank() - 4;  // of K/G
  const int64_t k = weights[first], c = weights[first + 1];
  const int64_t kw = weights[first + 3], window = weights[first + 2] * kw;
  dnnl::memory::dims strides{window, k * window, kw, 1};
  if (first == 1) strides.insert(strides.begin(), c * k * window);
  return MemoryDesc({weights.begin(), weights.end()}, dnnl::memory::data_type::f32, strides);
}

ProductProblem problem_of(const OpConfig& config, const ConvTranspose2dDesc& d) {
  const Shape& src = d.src.shape;
  const int64_t c = src[1], k = d.out_channels, g = d.groups;
  const auto extent = [&](int i) {
    return conv_transpose_output_extent(src[2 + i], d.kernel[i], d.stride[i], d.dilation[i], d.padding[2 * i],
                                        d.padding[2 * i + 1], d.output_padding[i]);
  };
  // Rows that output_padding adds behind the last tap get the bias alone: the convolution that
  // this one turns round does not reach them, which needs no negative padding.
  const auto pad_end = [&](int i) {
    return std::max<int64_t>(0, d.padding[2 * i + 1] - d.output_padding[i]);
  };
  const Shape weights =
      g == 1 ? Shape{k, c, d.kernel[0], d.kernel[1]} : Shape{g, k / g, c / g, d.kernel[0], d.kernel[1]};
  return {.kind = ProductProblem::Kind::kDeconvolution,
          .src = src,
          .weights = weights,
          .dst = Shape{src[0], k, extent(0), extent(1)},
          .canonical = canonical_weights(weights),
          .has_bias = d.has_bias,
          .geometry = {{d.stride[0], d.stride[1]},
                       {d.dilation[0] - 1, d.dilation[1] - 1},
                       {d.padding[0], d.padding[2]},
                       {pad_end(0), pad_end(1)}},
          .activation = d.activation,
          .dtype = config.compute,
          .training = config.training,
          .wants_diff_src = d.wants_diff_src};
}

}  // namespace

std::unique_ptr<Op> make_conv_transpose2d(const OpConfig& config, const ConvTranspose2dDesc& desc) {
  const ProductProblem problem = problem_of(config, desc);
  if (config.compute == DType::kFloat32) {
    return std::make_unique<ProductOp>(problem, choose_primitives(problem));
  }
  if (auto op = make_bfloat16_product(problem)) return op;
  ConvTranspose2dDesc wide = desc;
  wide.src = as_float32(desc.src);
  return through_float32(cpu::make_conv_transpose2d(as_float32(config), wide), Weights::kBFloat16);
}

}  // namespace lockstep::cpu
