// Convolution on the CPU: oneDNN's primitives, which may choose the layout of src, dst and weights
// (nChw16c on AVX-512), or an own kernel where that is faster (a fixed rule on shapes and
// instruction set).
#include "kernels/conv2d.h"

#include "kernels/backend.h"
#include "kernels/cpu/direct_conv2d.h"
#include "kernels/cpu/onednn_products.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

ProductProblem problem_of(const OpConfig& config, const Conv2dDesc& desc) {
  const Shape& src = desc.src.shape;
  const int64_t c = src[1], k = desc.out_channels, groups = desc.groups;
  const auto extent = [&](int i) {
    return conv_output_extent(src[2 + i], desc.kernel[i], desc.stride[i], desc.dilation[i],
                              desc.padding[2 * i], desc.padding[2 * i + 1]);
  };
  const Shape weights = groups == 1 ? Shape{k, c, desc.kernel[0], desc.kernel[1]}
                                    : Shape{groups, k / groups, c / groups, desc.kernel[0], desc.kernel[1]};
  return {.kind = ProductProblem::Kind::kConvolution,
          .src = src,
          .weights = weights,
          .dst = Shape{src[0], k, extent(0), extent(1)},
          .canonical = dense_desc(weights),
          .has_bias = desc.has_bias,
          .geometry = {{desc.stride[0], desc.stride[1]},
                       {desc.dilation[0] - 1, desc.dilation[1] - 1},
                       {desc.padding[0], desc.padding[2]},
                       {desc.padding[1], desc.padding[3]}},
          .activation = desc.activation,
          .dtype = config.compute,
          .training = config.training,
          .wants_diff_src = desc.wants_diff_src};
}

}  // namespace

std::unique_ptr<Op> make_conv2d(const OpConfig& config, const Conv2dDesc& desc) {
  if (config.compute == DType::kBFloat16) {
    if (auto op = make_bfloat16_product(problem_of(config, desc))) return op;
    Conv2dDesc wide = desc;
    wide.src = as_float32(desc.src);
    return through_float32(cpu::make_conv2d(as_float32(config), wide), Weights::kBFloat16);
  }
  if (prefers_direct_conv2d(config, desc)) return make_direct_conv2d(config, desc);
  const ProductProblem problem = problem_of(config, desc);
  return std::make_unique<ProductOp>(problem, choose_primitives(problem));
}

}  // namespace lockstep::cpu
