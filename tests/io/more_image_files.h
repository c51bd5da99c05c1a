// BMP files made by hand, and WebP, TIFF and HEIC files made through the libraries' own writers; those are
// empty where this build lacks the library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::testing {

/// rows: as BMP stores them, from the bottom, padded to four bytes; top_down: from the top.
std::string make_bmp(int height, int width, int bits, const std::vector<uint8_t>& rows,
                     const std::vector<uint8_t>& palette_bgr0 = {}, bool top_down = false);

/// Lossless. pixels (height, width, channels): RGB or RGBA. orientation: of an EXIF chunk; 0: none.
std::string make_webp(int height, int width, int channels, const std::vector<uint8_t>& pixels,
                      int orientation = 0);

struct TiffOptions {
  int channels = 3, bits = 8;
  int compression = 1, photometric = 2, sample_format = 1;  // as TIFF numbers them
  int orientation = 0;                                      // 0: no tag
  int tile = 0;                                             // its extent; 0: strips of 3 rows
  bool separate = false;                                    // a plane per channel
  bool big_endian = false, big_tiff = false;
  int extra = -1;  // what the last channel is, as ExtraSamples numbers it; -1: a colour
  int pages = 1;   // the same picture again
  bool with_thumbnail = false;
  std::vector<uint16_t> palette = {};  // red, green, blue: 2^bits each
};
/// pixels: (height, width, channels), packed for less than 8 bits, in this machine's order for more; if
/// `separate`, (channels, height, width).
std::string make_tiff(int height, int width, const std::vector<uint8_t>& pixels,
                      const TiffOptions& options = {});

/// pixels (height, width, 3) of 8 bits, or of 10 as 16. orientation: for the reader to apply, as EXIF
/// numbers it. n_images: top-level images. Empty where libheif has no encoder that loses nothing.
std::string make_heic(int height, int width, const std::vector<uint16_t>& pixels, int bits = 8,
                      int orientation = 1, int n_images = 1);

}  // namespace lockstep::testing
