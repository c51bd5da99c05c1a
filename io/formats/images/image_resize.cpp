// Separable: a destination row is first gathered from the source rows (long contiguous loops),
// then its columns are. Float sums run in source order; the result depends on nothing else.
#include "io/formats/images/image_resize.h"

#include <algorithm>
#include <cmath>
#include <limits>

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
  dst.height = height;
  dst.width = width;
  dst.channels = src.channels;
  dst.bits = src.bits;
  if (src.bits == 16)
    resize_pixels(src.deep, src.width, src.channels, height, width, dst.deep);
  else
    resize_pixels(src.pixels, src.width, src.channels, height, width, dst.pixels);
}

template <typename T>
void Resizer::resize_pixels(const std::vector<T>& src, int64_t src_width, int64_t channels, int64_t height,
                            int64_t width, std::vector<T>& dst) {
  constexpr auto kLargest = static_cast<float>(std::numeric_limits<T>::max());
  const int64_t n_row = src_width * channels;
  dst.resize(static_cast<size_t>(height * width * channels));
  row_.resize(static_cast<size_t>(n_row));
  T* out = dst.data();
  for (int64_t y = 0; y < height; ++y) {
    std::fill(row_.begin(), row_.end(), 0.0F);
    const T* line = src.data() + rows_.first[y] * n_row;
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
        *out++ = static_cast<T>(std::clamp(sum + 0.5F, 0.0F, kLargest));
      }
  }
}

}  // namespace lockstep
