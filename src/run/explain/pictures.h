// Pictures that show what a network does, and the file that the report of a run draws them from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/data/data.h"

namespace lockstep {

struct Picture {
  std::string caption;
  int64_t width = 0, height = 0, channels = 1;  // 1 grey, 3 RGB
  std::vector<uint8_t> pixels;                  // (height, width, channels)
  std::string row;                              // a heading: it begins a row of pictures; "": it does not
};

struct PictureGroup {
  std::string id, title, note;
  std::vector<Picture> pictures;
};

/// Larger pictures are reduced to this width and height.
inline constexpr int64_t kMostPictureSize = 128;

/// Inputs of a network as people know them: normalisation undone, whole numbers over their range, others from
/// the picture's smallest value to its largest.
class PixelScale {
 public:
  /// highest: of the stored numbers, 255 of uint8; 0: they have no range.
  PixelScale(const Shape& image, const Normalization& normalization, double highest);
  /// image: (C, H, W), as the network reads it.
  Picture picture(const float* image, const std::string& caption) const;
  /// Back to what can be stored: [0, highest]. Leaves other data as they are.
  void clamp(float* image) const;

 private:
  double stored(const float* image, int64_t i) const;
  double factor(const std::vector<float>& values, int64_t i, double otherwise) const;
  Shape image_;
  Normalization normalization_;
  double highest_;
};

/// One channel (H, W), from `low` black to `high` white.
Picture grey_picture(const float* values, int64_t height, int64_t width, double low, double high,
                     const std::string& caption);
/// The same from its smallest value to its largest.
Picture grey_picture(const float* values, int64_t height, int64_t width, const std::string& caption);

/// {"step": …, "data": …, "groups": [{"id", "title", "note", "pictures": [{"row", "caption", "width",
/// "height", "channels", "pixels": base64}, …]}, …]}
std::string pictures_json(int64_t step, const std::string& data, const std::vector<PictureGroup>& groups);

}  // namespace lockstep
