// Naive float64 transposed convolution: every pixel of src (n, c, h, w) adds a copy of the kernel,
// weights (c, k/groups, kh, kw), to dst (n, k, p, q); what falls outside is dropped.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv_transpose2d.h"

namespace lockstep::reference {

struct ConvTranspose2d {
  ConvTranspose2dDesc desc;
  std::vector<double> src, weights, bias;  // bias empty: none

  int64_t n() const { return desc.src.shape[0]; }
  int64_t c() const { return desc.src.shape[1]; }
  int64_t h() const { return desc.src.shape[2]; }
  int64_t w() const { return desc.src.shape[3]; }
  // One past the last pixel that a tap reaches, plus what is added, minus what is cut.
  int64_t extent(int axis) const {
    int64_t last = 0;
    for (int64_t at = 0; at < desc.src.shape[2 + axis]; ++at)
      last = at * desc.stride[axis] + desc.dilation[axis] * (desc.kernel[axis] - 1);
    return last + 1 + desc.output_padding[axis] - desc.padding[2 * axis] - desc.padding[2 * axis + 1];
  }
  int64_t p() const { return extent(0); }
  int64_t q() const { return extent(1); }

  /// Calls visit(dst index, src index, weights index) for every product.
  template <typename Visit>
  void for_each_product(const Visit& visit) const {
    const int64_t out_per_group = desc.out_channels / desc.groups, in_per_group = c() / desc.groups;
    for (int64_t in = 0; in < n(); ++in)
      for (int64_t ic = 0; ic < c(); ++ic)
        for (int64_t y = 0; y < h(); ++y)
          for (int64_t x = 0; x < w(); ++x)
            for (int64_t ok = 0; ok < out_per_group; ++ok)
              for (int64_t i = 0; i < desc.kernel[0]; ++i)
                for (int64_t j = 0; j < desc.kernel[1]; ++j) {
                  const int64_t ip = y * desc.stride[0] + i * desc.dilation[0] - desc.padding[0];
                  const int64_t iq = x * desc.stride[1] + j * desc.dilation[1] - desc.padding[2];
                  if (ip < 0 || ip >= p() || iq < 0 || iq >= q()) continue;
                  const int64_t k = ic / in_per_group * out_per_group + ok;
                  visit(((in * desc.out_channels + k) * p() + ip) * q() + iq,
                        ((in * c() + ic) * h() + y) * w() + x,
                        ((ic * out_per_group + ok) * desc.kernel[0] + i) * desc.kernel[1] + j);
                }
  }

  std::vector<double> sums() const {
    std::vector<double> dst(n() * desc.out_channels * p() * q());
    if (!bias.empty())
      for (size_t i = 0; i < dst.size(); ++i) dst[i] = bias[i / (p() * q()) % desc.out_channels];
    for_each_product([&](int64_t d, int64_t s, int64_t k) { dst[d] += src[s] * weights[k]; });
    return dst;
  }

  struct Gradients {
    std::vector<double> src, weights, bias;
  };
  /// diff: gradient with respect to sums()
  Gradients backward(const std::vector<double>& diff) const {
    Gradients g{std::vector<double>(src.size()), std::vector<double>(weights.size()),
                std::vector<double>(desc.out_channels)};
    for_each_product([&](int64_t d, int64_t s, int64_t k) {
      g.src[s] += diff[d] * weights[k];
      g.weights[k] += diff[d] * src[s];
    });
    for (size_t i = 0; i < diff.size(); ++i) g.bias[i / (p() * q()) % desc.out_channels] += diff[i];
    return g;
  }
};

}  // namespace lockstep::reference
