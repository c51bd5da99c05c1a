// BMP files as programs write them today: uncompressed, a palette of 1, 4 or 8 bits, or 24 or 32 bits a
// pixel. Compressed and older ones are refused by name.
#include <cstring>

#include "io/formats/images/image_formats.h"

namespace lockstep::detail {

namespace {
ImageFault refused_bmp(std::string why) { return {.refusal = std::move(why), .remedy = "save it as PNG"}; }
}  // namespace

ImageFault decode_bmp(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  constexpr size_t kHeader = 14 + 40;
  constexpr uint32_t kPlain = 0, kMasks = 3;
  if (file.size() < kHeader) return {"the file ends in its header"};
  const auto number = [&](size_t at, int n_bytes) {
    uint32_t value = 0;
    for (int i = 0; i < n_bytes; ++i) value |= uint32_t{file[at + static_cast<size_t>(i)]} << (8 * i);
    return value;
  };
  const uint32_t pixels_at = number(10, 4), info_bytes = number(14, 4), bpp = number(28, 2),
                 compression = number(30, 4), n_used = number(46, 4);
  if (info_bytes < 40 || info_bytes > file.size() - 14) return refused_bmp("has a header of an old kind");
  const int64_t width = static_cast<int32_t>(number(18, 4)),
                stored_height = static_cast<int32_t>(number(22, 4));
  const bool top_down = stored_height < 0;
  const int64_t height = top_down ? -stored_height : stored_height;
  if (width < 0) return {"its width is negative"};
  if (std::string fault = too_many_pixels(static_cast<uint64_t>(width), static_cast<uint64_t>(height));
      !fault.empty())
    return {fault};

  const bool palette = bpp == 1 || bpp == 4 || bpp == 8;
  if (!palette && bpp != 24 && bpp != 32)
    return refused_bmp("holds " + std::to_string(bpp) + " bits a pixel");
  if (compression == kMasks && bpp == 32) {
    constexpr size_t kMasksAt = 54;
    if (file.size() < kMasksAt + 12) return {"the file ends in its header"};
    if (number(kMasksAt, 4) != 0xff0000 || number(kMasksAt + 4, 4) != 0xff00 ||
        number(kMasksAt + 8, 4) != 0xff)
      return refused_bmp("holds its colours in an unusual order");
  } else if (compression != kPlain) {
    return refused_bmp("is a compressed BMP file");
  }
  const size_t row_bytes = (static_cast<size_t>(width) * bpp + 31) / 32 * 4, palette_at = 14 + info_bytes;
  if (pixels_at > file.size() || row_bytes * static_cast<size_t>(height) > file.size() - pixels_at)
    return {"the file ends too early"};
  const size_t n_colours = !palette ? 0 : n_used > 0 ? n_used : size_t{1} << bpp;
  if (n_colours > 256 || palette_at + 4 * n_colours > file.size()) return {"its palette is cut off"};

  dst.height = height;
  dst.width = width;
  dst.channels = 3;
  dst.bits = 8;
  dst.pixels.resize(static_cast<size_t>(height * width * 3));
  uint8_t* rgb = dst.pixels.data();
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row =
        file.data() + pixels_at + row_bytes * static_cast<size_t>(top_down ? y : height - 1 - y);
    for (int64_t x = 0; x < width; ++x, rgb += 3) {
      const uint8_t* bgr = row + x * (bpp / 8);
      if (palette) {
        const int64_t first_bit = x * bpp;
        const size_t index = row[first_bit / 8] >> (8 - bpp - first_bit % 8) & ((1U << bpp) - 1);
        if (index >= n_colours) return {"a pixel lies outside the palette"};
        bgr = file.data() + palette_at + 4 * index;
      }
      for (int c = 0; c < 3; ++c) rgb[c] = bgr[2 - c];
    }
  }
  to_wanted(channels, bits, dst);
  return {};
}

}  // namespace lockstep::detail
