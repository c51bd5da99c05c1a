// Naive float64 PReLU over (n, channels, inner); `slopes` has one entry, or one per channel.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::reference {

struct PreluResult {
  std::vector<double> dst, diff_src, diff_slopes;
};

inline PreluResult prelu(const std::vector<double>& x, const std::vector<double>& slopes, int64_t channels,
                         int64_t inner, const std::vector<double>& diff_dst) {
  PreluResult result{x, diff_dst, std::vector<double>(slopes.size(), 0.0)};
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] > 0) continue;
    const size_t c = slopes.size() == 1 ? 0 : i / static_cast<size_t>(inner) % static_cast<size_t>(channels);
    result.dst[i] *= slopes[c];
    result.diff_src[i] *= slopes[c];
    result.diff_slopes[c] += x[i] * diff_dst[i];
  }
  return result;
}

}  // namespace lockstep::reference
