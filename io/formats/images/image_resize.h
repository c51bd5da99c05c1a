// Bilinear resizing of 8-bit images. Shrinking widens the triangle filter by the scale (as
// Pillow, and torchvision with antialias=True, do), so that no source pixel is skipped.
#pragma once

#include "io/formats/images/image_decode.h"

namespace lockstep {

/// For one source and destination size; keeps its weights as long as these stay the same.
class Resizer {
 public:
  /// src (h, w, C) -> dst (height, width, C) of the same bits, rounded to nearest. dst must not be src.
  void resize(const Image& src, int64_t height, int64_t width, Image& dst);

 private:
  /// Weights of one axis: dst i = sum over k < count of weights[first_weight[i] + k] * src[first[i] + k].
  struct Axis {
    int64_t n_src = 0, n_dst = 0;
    std::vector<int64_t> first, first_weight;  // (n_dst), (n_dst + 1)
    std::vector<float> weights;
    void prepare(int64_t src, int64_t dst);
  };
  template <typename T>
  void resize_pixels(const std::vector<T>& src, int64_t src_width, int64_t channels, int64_t height,
                     int64_t width, std::vector<T>& dst);

  Axis rows_, columns_;
  std::vector<float> row_;  // one destination row at source width
};

}  // namespace lockstep
