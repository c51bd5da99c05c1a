// Naive float64 pooling: src (n, c, h, w), dst (n, c, p, q). Positions outside of src do not
// exist for the maximum and for the average without count_padding; they count as zero with it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/pool2d.h"

namespace lockstep::reference {

struct Pool2d {
  Pool2dDesc desc;
  std::vector<double> src;

  int64_t h() const { return desc.src.shape[2]; }
  int64_t w() const { return desc.src.shape[3]; }
  // Counted, not computed: the number of places where the kernel fits.
  int64_t places(int axis) const {
    const int64_t padded = desc.src.shape[2 + axis] + desc.padding[2 * axis] + desc.padding[2 * axis + 1];
    int64_t count = 0;
    for (int64_t at = 0; at + desc.kernel[axis] - 1 < padded; at += desc.stride[axis]) ++count;
    return count;
  }
  int64_t p() const { return places(0); }
  int64_t q() const { return places(1); }

  /// Calls visit(dst index, src indices of the window inside of src in row-major order).
  template <typename Visit>
  void for_each_window(const Visit& visit) const {
    const int64_t planes = desc.src.shape[0] * desc.src.shape[1];
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t ip = 0; ip < p(); ++ip)
        for (int64_t iq = 0; iq < q(); ++iq) {
          std::vector<int64_t> window;
          for (int64_t i = 0; i < desc.kernel[0]; ++i)
            for (int64_t j = 0; j < desc.kernel[1]; ++j) {
              const int64_t y = ip * desc.stride[0] + i - desc.padding[0];
              const int64_t x = iq * desc.stride[1] + j - desc.padding[2];
              if (y >= 0 && y < h() && x >= 0 && x < w()) window.push_back((plane * h() + y) * w() + x);
            }
          visit((plane * p() + ip) * q() + iq, window);
        }
  }

  int64_t first_maximum(const std::vector<int64_t>& window) const {
    int64_t best = window[0];
    for (int64_t at : window)
      if (src[at] > src[best]) best = at;
    return best;
  }
  double divisor(const std::vector<int64_t>& window) const {
    return static_cast<double>(desc.count_padding ? desc.kernel[0] * desc.kernel[1]
                                                  : static_cast<int64_t>(window.size()));
  }

  std::vector<double> forward() const {
    std::vector<double> dst(desc.src.shape[0] * desc.src.shape[1] * p() * q());
    for_each_window([&](int64_t d, const std::vector<int64_t>& window) {
      if (desc.pooling == Pooling::kMax) {
        dst[d] = src[first_maximum(window)];
        return;
      }
      for (int64_t at : window) dst[d] += src[at];
      dst[d] /= divisor(window);
    });
    return dst;
  }

  std::vector<double> backward(const std::vector<double>& diff_dst) const {
    std::vector<double> diff_src(src.size());
    for_each_window([&](int64_t d, const std::vector<int64_t>& window) {
      if (desc.pooling == Pooling::kMax) {
        diff_src[first_maximum(window)] += diff_dst[d];
        return;
      }
      for (int64_t at : window) diff_src[at] += diff_dst[d] / divisor(window);
    });
    return diff_src;
  }
};

}  // namespace lockstep::reference
