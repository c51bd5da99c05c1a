// Naive float64 local response normalisation of dense (n, channels, spatial); see
// kernels/local_response_norm.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep::reference {

struct LocalResponseNorm {
  int64_t n, channels, spatial;
  int64_t size;
  double alpha, beta, k;
  std::vector<double> src;

  bool in_window(int64_t c, int64_t j) const { return j >= c - size / 2 && j < c - size / 2 + size; }
  double denominator(int64_t row, int64_t c, int64_t i) const {
    double sum = 0;
    for (int64_t j = 0; j < channels; ++j)
      if (in_window(c, j)) sum += std::pow(src[(row * channels + j) * spatial + i], 2);
    return k + alpha / static_cast<double>(size) * sum;
  }

  std::vector<double> forward() const {
    std::vector<double> dst(src.size());
    for (int64_t row = 0; row < n; ++row)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < spatial; ++i) {
          const int64_t at = (row * channels + c) * spatial + i;
          dst[at] = src[at] / std::pow(denominator(row, c, i), beta);
        }
    return dst;
  }

  std::vector<double> backward(const std::vector<double>& diff_dst) const {
    std::vector<double> diff_src(src.size());
    for (int64_t row = 0; row < n; ++row)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < spatial; ++i) {
          const int64_t at = (row * channels + c) * spatial + i;
          const double d = denominator(row, c, i);
          diff_src[at] += diff_dst[at] * std::pow(d, -beta);
          for (int64_t j = 0; j < channels; ++j) {
            const int64_t other = (row * channels + j) * spatial + i;
            if (in_window(c, j))
              diff_src[other] -= diff_dst[at] * src[at] * beta * std::pow(d, -beta - 1) * alpha /
                                 static_cast<double>(size) * 2 * src[other];
          }
        }
    return diff_src;
  }
};

}  // namespace lockstep::reference
