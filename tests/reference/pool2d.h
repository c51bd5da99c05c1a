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

  bool is_image() const { return desc.src.shape.rank() == 4; }
  int64_t extent(int axis) const {
    return axis == 1 ? desc.src.shape[desc.src.shape.rank() - 1] : is_image() ? desc.src.shape[2] : 1;
  }
  bool pools(int axis) const { return axis == 1 || is_image(); }
  int64_t kernel(int axis) const { return pools(axis) ? desc.kernel[axis] : 1; }
  int64_t stride(int axis) const { return pools(axis) ? desc.stride[axis] : 1; }
  int64_t before(int axis) const { return pools(axis) ? desc.padding[2 * axis] : 0; }
  int64_t after(int axis) const { return pools(axis) ? desc.padding[2 * axis + 1] : 0; }

  // Counted, not computed: the number of places where the kernel fits, or where it begins before the end
  // of the image as long as the one before has not reached the end of the padding.
  int64_t places(int axis) const {
    if (desc.adaptive[1] != 0) return pools(axis) ? desc.adaptive[axis] : 1;
    const int64_t padded = extent(axis) + before(axis) + after(axis);
    int64_t count = 0, at = 0;
    for (; at + kernel(axis) - 1 < padded; at += stride(axis)) ++count;
    const bool something_left = at - stride(axis) + kernel(axis) < padded;
    if (desc.ceil && something_left && at < before(axis) + extent(axis)) ++count;
    return count;
  }
  int64_t p() const { return places(0); }
  int64_t q() const { return places(1); }
  int64_t planes() const { return desc.src.shape[0] * desc.src.shape[1]; }

  /// An element of a window: its index in src, -1 in the padding, and its place in the kernel.
  struct Element {
    int64_t index, place;
  };

  /// Calls visit(dst index, elements inside the padded image in row-major order).
  template <typename Visit>
  void for_each_window(const Visit& visit) const {
    const int64_t h = extent(0), w = extent(1);
    for (int64_t plane = 0; plane < planes(); ++plane)
      for (int64_t ip = 0; ip < p(); ++ip)
        for (int64_t iq = 0; iq < q(); ++iq) {
          std::vector<Element> window;
          if (desc.adaptive[1] != 0) {
            for (int64_t y = 0; y < h; ++y)
              for (int64_t x = 0; x < w; ++x)  // in the part [ip / p, (ip + 1) / p) of the image
                if ((y + 1) * p() > ip * h && y * p() < (ip + 1) * h && (x + 1) * q() > iq * w &&
                    x * q() < (iq + 1) * w)
                  window.push_back({(plane * h + y) * w + x, 0});
          } else {
            for (int64_t i = 0; i < kernel(0); ++i)
              for (int64_t j = 0; j < kernel(1); ++j) {
                const int64_t y = ip * stride(0) + i - before(0), x = iq * stride(1) + j - before(1);
                if (y >= h + after(0) || x >= w + after(1)) continue;
                const bool inside = y >= 0 && y < h && x >= 0 && x < w;
                window.push_back({inside ? (plane * h + y) * w + x : -1, i * kernel(1) + j});
              }
          }
          visit((plane * p() + ip) * q() + iq, window);
        }
  }

  int64_t first_maximum(const std::vector<Element>& window) const {
    int64_t best = -1;
    for (const Element& at : window)
      if (at.index >= 0 && (best < 0 || src[at.index] > src[best])) best = at.index;
    return best;
  }
  double weight(const Element& at) const {
    return desc.pooling == Pooling::kWeighted ? desc.weights[at.place] : 1;
  }
  double divisor(const std::vector<Element>& window) const {
    if (desc.pooling == Pooling::kWeighted && !desc.normalize) return 1;
    double sum = 0;
    for (const Element& at : window)
      if (at.index >= 0 || desc.count_padding) sum += weight(at);
    return sum;
  }

  std::vector<double> forward() const {
    std::vector<double> dst(planes() * p() * q());
    for_each_window([&](int64_t d, const std::vector<Element>& window) {
      if (desc.pooling == Pooling::kMax) {
        dst[d] = src[first_maximum(window)];
        return;
      }
      for (const Element& at : window)
        if (at.index >= 0) dst[d] += weight(at) * src[at.index];
      dst[d] /= divisor(window);
    });
    return dst;
  }

  std::vector<double> backward(const std::vector<double>& diff_dst) const {
    std::vector<double> diff_src(src.size());
    for_each_window([&](int64_t d, const std::vector<Element>& window) {
      if (desc.pooling == Pooling::kMax) {
        diff_src[first_maximum(window)] += diff_dst[d];
        return;
      }
      for (const Element& at : window)
        if (at.index >= 0) diff_src[at.index] += diff_dst[d] * weight(at) / divisor(window);
    });
    return diff_src;
  }
};

}  // namespace lockstep::reference
