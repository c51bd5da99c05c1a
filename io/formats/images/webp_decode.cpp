// WebP through libwebp: lossy and lossless stills. Alpha is dropped; the EXIF chunk's orientation is applied.
#include <webp/decode.h>

#include <cstring>
#include <memory>

#include "io/formats/images/image_formats.h"
#include "io/formats/images/image_orientation.h"

namespace lockstep::detail {

namespace {

/// Of the EXIF chunk, which some programs begin as JPEG's marker does; 1: none.
int webp_orientation(std::span<const uint8_t> file) {
  size_t at = 12;  // chunks: four letters, length, content padded to an even one
  while (at + 8 <= file.size()) {
    const uint8_t* chunk = file.data() + at;
    const size_t n = chunk[4] | chunk[5] << 8 | chunk[6] << 16 | size_t{chunk[7]} << 24;
    if (n > file.size() - at - 8) break;
    if (std::memcmp(chunk, "EXIF", 4) == 0) {
      std::span<const uint8_t> exif(chunk + 8, n);
      if (n >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
      return exif_orientation(exif);
    }
    at += 8 + n + n % 2;
  }
  return 1;
}

ImageFault decode_webp(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(file.data(), file.size(), &features) != VP8_STATUS_OK) return {"its header is damaged"};
  if (features.has_animation)
    return {.refusal = "is an animation, not one image", .remedy = "save the frame that is meant"};
  if (std::string fault = too_many_pixels(features.width, features.height); !fault.empty()) return {fault};
  int width = 0, height = 0;
  // Its own memory, which is touched as far as the file really goes.
  const std::unique_ptr<uint8_t, void (*)(void*)> rgb(
      WebPDecodeRGB(file.data(), file.size(), &width, &height), WebPFree);
  if (!rgb) return {"its pixels are damaged or cut off"};
  dst.height = height;
  dst.width = width;
  dst.channels = 3;
  dst.bits = 8;
  dst.pixels.assign(rgb.get(), rgb.get() + dst.height * dst.width * 3);
  to_wanted(channels, bits, dst);
  orient(webp_orientation(file), dst);
  return {};
}

}  // namespace

FormatDecoder webp_decoder() {
  const int version = WebPGetDecoderVersion();
  return {.decode = decode_webp,
          .decoded_by = "libwebp " + std::to_string(version >> 16) + "." +
                        std::to_string(version >> 8 & 0xff) + "." + std::to_string(version & 0xff)};
}

}  // namespace lockstep::detail
