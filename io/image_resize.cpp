// Separable: a destination row is first gathered from the source rows (long contiguous loops),
// then its columns are. Float sums run in source order; the result depends on nothing else.
#include "io/image_resize.h"

#include <algorithm>
#include <cmath>

namespace lockstep {

void Resizer::Axis::prepare(int64_t src, int64_t dst) {
  if (src == n_src && dst == n_dst) return;
  n_src = src;
  n_dst = dst;
  first.clear();
  first_weight.assign(1, 0);
  weights.clear();
  const double scale = static_cast<double>(src) / static_cast<double>(dst);
  const double reach = std::max(scale, 1.0);  // half the width of the triangle, in source pixels
  for (int64_t i = 0; i < dst; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const auto begin = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(center - reach)));
    const auto end = std::min<int64_t>(src - 1, static_cast<int64_t>(std::floor(center + reach)));
    double sum = 0;
    for (int64_t k = begin; k <= end; ++k) sum += 1 - std::abs(static_cast<double>(k) - center) / reach;
    for (int64_t k = begin; k <= end; ++k)
      weights.push_back(static_cast<float>((1 - std::abs(static_cast<double>(k) - center) / reach) / sum));
    first.push_back(begin);
    first_weight.push_back(static_cast<int64_t>(weights.size()));
  }
}

void Resizer::resize(const Image& src, int64_t height, int64_t width, Image& dst) {
  rows_.prepare(src.height, height);
  columns_.prepare(src.width, width);
  const int64_t channels = src.channels, n_row = src.width * channels;
  dst.height = height;
  dst.width = width;
  dst.channels = channels;
  dst.pixels.resize(static_cast<size_t>(height * width * channels));
  row_.resize(static_cast<size_t>(n_row));
  uint8_t* out = dst.pixels.data();
  for (int64_t y = 0; y < height; ++y) {
    std::fill(row_.begin(), row_.end(), 0.0F);
    const uint8_t* line = src.pixels.data() + rows_.first[y] * n_row;
    for (int64_t k = rows_.first_weight[y]; k < rows_.first_weight[y + 1]; ++k, line += n_row) {
      const float weight = rows_.weights[k];
      for (int64_t i = 0; i < n_row; ++i) row_[i] += weight * static_cast<float>(line[i]);
    }
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        const float* value = row_.data() + columns_.first[x] * channels + c;
        float sum = 0;
        for (int64_t k = columns_.first_weight[x]; k < columns_.first_weight[x + 1]; ++k, value += channels)
          sum += columns_.weights[k] * *value;
        *out++ = static_cast<uint8_t>(std::clamp(sum + 0.5F, 0.0F, 255.0F));
      }
  }
}

}  // namespace lockstep
