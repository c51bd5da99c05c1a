// A minimal PNG writer for the small images on the report page.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct PngImage {
  int width = 0, height = 0;
  int channels = 1;             // 1 grey, 3 RGB, 4 RGB and opacity
  std::vector<uint8_t> pixels;  // (height, width, channels), row-major
};

/// The PNG file's bytes (8 bits per channel, no filter, zlib level 9).
std::string png_bytes(const PngImage& image);
/// "data:image/png;base64,…" for an <img>.
std::string png_data_uri(const PngImage& image);

}  // namespace lockstep
