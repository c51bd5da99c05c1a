// Naive float64 locally connected layer: src (n, c, h, w), weights (p * q, k, c * kh * kw), bias
// (k, p, q), dst (n, k, p, q). Positions outside of src count as zero.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/local_conv2d.h"

namespace lockstep::reference {

struct LocalConv2d {
  LocalConv2dDesc desc;
  std::vector<double> src, weights, bias;  // bias empty: none

  int64_t n() const { return desc.src.shape[0]; }
  int64_t c() const { return desc.src.shape[1]; }
  int64_t k() const { return desc.out_channels; }
  int64_t places(int axis) const {
    const int64_t padded = desc.src.shape[2 + axis] + desc.padding[2 * axis] + desc.padding[2 * axis + 1];
    int64_t count = 0;
    for (int64_t at = 0; at + desc.kernel[axis] <= padded; at += desc.stride[axis]) ++count;
    return count;
  }

  /// Calls visit(dst index, src index, weights index) for every product.
  template <typename Visit>
  void for_each_product(const Visit& visit) const {
    const int64_t h = desc.src.shape[2], w = desc.src.shape[3], kh = desc.kernel[0], kw = desc.kernel[1];
    for (int64_t in = 0; in < n(); ++in)
      for (int64_t ip = 0; ip < places(0); ++ip)
        for (int64_t iq = 0; iq < places(1); ++iq)
          for (int64_t ik = 0; ik < k(); ++ik)
            for (int64_t ic = 0; ic < c(); ++ic)
              for (int64_t i = 0; i < kh; ++i)
                for (int64_t j = 0; j < kw; ++j) {
                  const int64_t y = ip * desc.stride[0] + i - desc.padding[0];
                  const int64_t x = iq * desc.stride[1] + j - desc.padding[2];
                  if (y < 0 || y >= h || x < 0 || x >= w) continue;
                  const int64_t place = ip * places(1) + iq;
                  visit((in * k() + ik) * places(0) * places(1) + place, ((in * c() + ic) * h + y) * w + x,
                        (place * k() + ik) * c() * kh * kw + (ic * kh + i) * kw + j);
                }
  }

  std::vector<double> forward() const {
    const size_t sample = static_cast<size_t>(k() * places(0) * places(1));
    std::vector<double> dst(static_cast<size_t>(n()) * sample);
    if (!bias.empty())
      for (size_t i = 0; i < dst.size(); ++i) dst[i] = bias[i % sample];
    for_each_product([&](int64_t d, int64_t s, int64_t at) { dst[d] += src[s] * weights[at]; });
    return dst;
  }

  struct Gradients {
    std::vector<double> src, weights, bias;
  };
  Gradients backward(const std::vector<double>& diff) const {
    const size_t sample = static_cast<size_t>(k() * places(0) * places(1));
    Gradients g{std::vector<double>(src.size()), std::vector<double>(weights.size()),
                std::vector<double>(sample)};
    for_each_product([&](int64_t d, int64_t s, int64_t at) {
      g.src[s] += diff[d] * weights[at];
      g.weights[at] += diff[d] * src[s];
    });
    for (size_t i = 0; i < diff.size(); ++i) g.bias[i % sample] += diff[i];
    return g;
  }
};

}  // namespace lockstep::reference
