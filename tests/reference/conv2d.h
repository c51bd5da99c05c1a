// Naive float64 convolution in seven loops: src (n, c, h, w), weights (k, c/groups, kh, kw),
// dst (n, k, p, q). Positions outside of src count as zero.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv2d.h"

namespace lockstep::reference {

struct Conv2d {
  Conv2dDesc desc;
  std::vector<double> src, weights, bias;  // bias empty: none

  int64_t n() const { return desc.src.shape[0]; }
  int64_t c() const { return desc.src.shape[1]; }
  int64_t h() const { return desc.src.shape[2]; }
  int64_t w() const { return desc.src.shape[3]; }
  // Counted, not computed: the number of places where the kernel fits.
  int64_t places(int axis) const {
    const int64_t padded = desc.src.shape[2 + axis] + desc.padding[2 * axis] + desc.padding[2 * axis + 1];
    int64_t count = 0;
    for (int64_t at = 0; at + desc.dilation[axis] * (desc.kernel[axis] - 1) < padded; at += desc.stride[axis])
      ++count;
    return count;
  }
  int64_t p() const { return places(0); }
  int64_t q() const { return places(1); }

  /// Calls visit(dst index, src index, weights index) for every product of the convolution.
  template <typename Visit>
  void for_each_product(const Visit& visit) const {
    const int64_t out_per_group = desc.out_channels / desc.groups, in_per_group = c() / desc.groups;
    for (int64_t in = 0; in < n(); ++in)
      for (int64_t ik = 0; ik < desc.out_channels; ++ik)
        for (int64_t ip = 0; ip < p(); ++ip)
          for (int64_t iq = 0; iq < q(); ++iq)
            for (int64_t ic = 0; ic < in_per_group; ++ic)
              for (int64_t i = 0; i < desc.kernel[0]; ++i)
                for (int64_t j = 0; j < desc.kernel[1]; ++j) {
                  const int64_t y = ip * desc.stride[0] + i * desc.dilation[0] - desc.padding[0];
                  const int64_t x = iq * desc.stride[1] + j * desc.dilation[1] - desc.padding[2];
                  if (y < 0 || y >= h() || x < 0 || x >= w()) continue;
                  const int64_t channel = ik / out_per_group * in_per_group + ic;
                  visit(((in * desc.out_channels + ik) * p() + ip) * q() + iq,
                        ((in * c() + channel) * h() + y) * w() + x,
                        ((ik * in_per_group + ic) * desc.kernel[0] + i) * desc.kernel[1] + j);
                }
  }

  /// conv(src, weights) + bias, before the activation
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
