// PNG and JPEG files made in memory, through the libraries' own writers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::testing {

/// A TIFF header and one directory with the tag Orientation.
std::string make_exif(int orientation, bool little_endian);

struct PngOptions {
  int color_type = 2;  // as PNG numbers them: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA
  int bit_depth = 8;   // 1, 2, 4, 8, 16 where the colour type allows it
  bool interlaced = false;
  std::vector<uint8_t> palette;  // (n, 3)
  int orientation = 0;           // of EXIF; 0: none
};

/// rows: packed as PNG stores them (16 bit: big-endian; below 8: high bits first), without
/// filter bytes.
std::string make_png(int height, int width, const std::vector<uint8_t>& rows, const PngOptions& options = {});

struct JpegOptions {
  int channels = 3;  // 1: grey, 3: RGB, 4: CMYK
  int quality = 90;
  bool progressive = false;
  int orientation = 0;  // of EXIF; 0: none
};
/// pixels (height, width, channels)
std::string make_jpeg(int height, int width, const std::vector<uint8_t>& pixels,
                      const JpegOptions& options = {});

}  // namespace lockstep::testing
