// EXIF 2.3 (CIPA DC-008), tag Orientation: where the first row and column of the stored pixels belong.
#include "io/formats/images/image_orientation.h"

#include <utility>
#include <vector>

namespace lockstep::detail {

int exif_orientation(std::span<const uint8_t> exif) {
  constexpr uint32_t kOrientation = 0x0112, kShort = 3;
  const size_t n = exif.size();
  if (n < 8) return 1;
  const bool little = exif[0] == 'I' && exif[1] == 'I';
  if (!little && !(exif[0] == 'M' && exif[1] == 'M')) return 1;
  const auto number = [&](size_t at, size_t n_bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < n_bytes; ++i)
      value |= uint32_t{exif[at + i]} << 8 * (little ? i : n_bytes - 1 - i);
    return value;
  };
  const size_t directory = number(4, 4);
  if (number(2, 2) != 42 || directory > n - 2) return 1;
  const uint32_t n_entries = number(directory, 2);
  for (uint32_t i = 0; i < n_entries; ++i) {
    const size_t entry = directory + 2 + size_t{12} * i;
    if (entry + 12 > n) return 1;
    if (number(entry, 2) != kOrientation) continue;
    const uint32_t value = number(entry + 2, 2) == kShort ? number(entry + 8, 2) : 1;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

namespace {

template <typename T>
void orient_pixels(int orientation, const Image& image, std::vector<T>& pixels) {
  const int64_t h = image.height, w = image.width, c = image.channels;
  const bool swaps = orientation >= 5;  // rows become columns
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const int64_t out_h = swaps ? w : h, out_w = swaps ? h : w;
  std::vector<T> out(pixels.size());
  for (int64_t y = 0; y < out_h; ++y)
    for (int64_t x = 0; x < out_w; ++x) {
      const int64_t row = swaps ? x : y, column = swaps ? y : x;
      const int64_t src = (from_bottom ? h - 1 - row : row) * w + (from_right ? w - 1 - column : column);
      for (int64_t k = 0; k < c; ++k) out[(y * out_w + x) * c + k] = pixels[src * c + k];
    }
  pixels.swap(out);
}

}  // namespace

void orient(int orientation, Image& image) {
  if (orientation <= 1 || orientation > 8) return;
  if (image.bits == 16)
    orient_pixels(orientation, image, image.deep);
  else
    orient_pixels(orientation, image, image.pixels);
  if (orientation >= 5) std::swap(image.height, image.width);
}

}  // namespace lockstep::detail
