// Image files to grey or RGB pixels of 8 or 16 bits: JPEG, PNG and BMP, and where their libraries are there
// WebP, TIFF, HEIC and AVIF (image_formats.h). A damaged
// or truncated file is an Error, never a half grey picture. EXIF orientation is applied; colour
// profiles are ignored; transparency is dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

/// Pixels (height, width, channels).
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // of 8 bits
  int64_t bits = 8;
  std::vector<uint16_t> deep = {};  // of 16 bits: these instead
};

/// One per thread; its buffers are used again from image to image.
class ImageDecoder {
 public:
  static constexpr int64_t kMaxPixels = int64_t{1} << 28;  // a larger header is taken for damage
  /// So is one that promises more than the file can hold: no JPEG stores 64 pixels in less than a bit,
  /// and components may have a quarter of the image's pixels.
  static constexpr int64_t kMaxJpegPixelsPerByte = 2048;

  static constexpr const char* kReplace = "replace or remove the file";  // the remedy for damage

  ImageDecoder();
  ~ImageDecoder();
  ImageDecoder(const ImageDecoder&) = delete;
  ImageDecoder& operator=(const ImageDecoder&) = delete;

  /// The content decides what kind it is. channels: 1 (grey: Y of a JPEG, ITU-R 601 luma of
  /// the others) or 3 (RGB). bits: 8 or 16 of the result; others are scaled, 255 to 65535. Throws Error
  /// naming `name`.
  const Image& decode(std::span<const uint8_t> file, int64_t channels, const std::string& name,
                      int64_t bits = 8);

  /// Bits of a sample that a file holds: 16 where they are more than 8, and 8 for all else. Of PNG
  /// files the first kHeaderBytes are enough.
  static constexpr int64_t kHeaderBytes = 32;
  static int64_t stored_bits(std::span<const uint8_t> file);

 private:
  struct Jpeg;
  std::unique_ptr<Jpeg> jpeg_;
  Image image_;
};

namespace detail {

/// Returns an empty text, or what is wrong with the file. bits: as ImageDecoder::decode. The EXIF orientation
/// is applied.
std::string decode_png(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst);

/// ITU-R 601 luma, rounded: (n, 3) -> (n) in place. T: uint8_t or uint16_t.
template <typename T>
void rgb_to_grey(T* pixels, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {  // 0.299, 0.587, 0.114 in 16 binary digits; they sum to one
    const uint32_t sum = 19595U * pixels[3 * i] + 38470U * pixels[3 * i + 1] + 7471U * pixels[3 * i + 2];
    pixels[i] = static_cast<T>((sum + 32768U) >> 16);
  }
}

/// An image of 8 bits as one of 16.
void deepen(Image& image);

}  // namespace detail

}  // namespace lockstep
