// JPEG and PNG files to 8-bit grey or RGB pixels, through libjpeg-turbo and libpng. A damaged
// or truncated file is an Error, never a half grey picture. EXIF orientation and colour
// profiles are ignored; transparency is dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

/// Pixels (height, width, channels) uint8.
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;
};

/// One per thread; its buffers are used again from image to image.
class ImageDecoder {
 public:
  static constexpr int64_t kMaxPixels = int64_t{1} << 28;  // a larger header is taken for damage
  /// So is one that promises more than the file can hold: no JPEG stores 64 pixels in less than a bit,
  /// and components may have a quarter of the image's pixels.
  static constexpr int64_t kMaxJpegPixelsPerByte = 2048;

  ImageDecoder();
  ~ImageDecoder();
  ImageDecoder(const ImageDecoder&) = delete;
  ImageDecoder& operator=(const ImageDecoder&) = delete;

  /// The content decides between JPEG and PNG. channels: 1 (grey: Y of a JPEG, ITU-R 601 luma of
  /// a PNG) or 3 (RGB). 16-bit samples are scaled to 8. Throws Error naming `name`.
  const Image& decode(std::span<const uint8_t> file, int64_t channels, const std::string& name);

 private:
  struct Jpeg;
  std::unique_ptr<Jpeg> jpeg_;
  Image image_;
};

namespace detail {

/// Each returns an empty text, or what is wrong with the file.
std::string decode_png(std::span<const uint8_t> file, int64_t channels, Image& dst);

/// ITU-R 601 luma, rounded: (n, 3) -> (n) in place.
void rgb_to_grey(uint8_t* pixels, int64_t n);

}  // namespace detail

}  // namespace lockstep
