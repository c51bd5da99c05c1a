// See image_formats.h.
#include "io/formats/images/image_formats.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace lockstep::detail {

namespace {

using FileBytes = std::span<const uint8_t>;

bool begins(FileBytes file, std::string_view magic, size_t at = 0) {
  return file.size() >= at + magic.size() && std::memcmp(file.data() + at, magic.data(), magic.size()) == 0;
}

/// ISO base media files name their brand: of stills in HEVC (heic …), in AV1 (avif), or of any (mif1).
bool is_heic(FileBytes file) {
  if (!begins(file, "ftyp", 4)) return false;
  constexpr std::string_view kBrands[] = {"heic", "heix", "heim", "heis", "hevc",
                                          "hevx", "mif1", "msf1", "avif", "avis"};
  return std::any_of(std::begin(kBrands), std::end(kBrands),
                     [&](std::string_view brand) { return begins(file, brand, 8); });
}

/// Two letters begin many texts: the header has zeros where BMP reserves them, and in its small size.
bool is_bmp(FileBytes file) {
  return begins(file, "BM") && begins(file, {"\0\0\0\0", 4}, 6) && begins(file, {"\0\0\0", 3}, 15);
}

/// In either order of bytes, also of the kind for files above 4 GB.
bool is_tiff(FileBytes file) {
  constexpr std::string_view kBegins[] = {{"II*\0", 4}, {"MM\0*", 4}, {"II+\0", 4}, {"MM\0+", 4}};
  return std::any_of(std::begin(kBegins), std::end(kBegins),
                     [&](std::string_view magic) { return begins(file, magic); });
}

int64_t png_bits(FileBytes file) {
  constexpr size_t kBitDepth = 24;  // byte of IHDR
  return file.size() > kBitDepth && file[kBitDepth] == 16 ? 16 : 8;
}

}  // namespace

std::string ImageFormat::remedy() const { return is_read() ? "" : "to read " + name + ", " + decoder.remedy; }

const std::vector<ImageFormat>& image_formats() {
  static const std::vector<ImageFormat> kFormats{
      {"JPEG", {".jpg", ".jpeg", ".jpe", ".jfif"}, [](FileBytes file) { return begins(file, "\xff\xd8"); }},
      {"PNG",
       {".png"},
       [](FileBytes file) { return begins(file, "\x89PNG"); },
       {.decode = [](FileBytes file, int64_t channels, int64_t bits, Image& dst) -> ImageFault {
          return {decode_png(file, channels, bits, dst)};
        },
        .stored_bits = png_bits,
        .header_tells_bits = true}},
      {"BMP", {".bmp"}, is_bmp, {.decode = decode_bmp}},
      {"WebP",
       {".webp"},
       [](FileBytes file) { return begins(file, "RIFF") && begins(file, "WEBP", 8); },
       webp_decoder()},
      {"TIFF", {".tif", ".tiff"}, is_tiff, tiff_decoder()},
      {"HEIC", {".heic", ".heif", ".avif"}, is_heic, heic_decoder()},
  };
  return kFormats;
}

const ImageFormat* format_of_content(FileBytes file) {
  for (const ImageFormat& format : image_formats())
    if (format.matches(file)) return &format;
  return nullptr;
}

std::string lower_extension(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension;
}

const ImageFormat* format_of_name(const std::string& path) {
  const std::string extension = lower_extension(path);
  for (const ImageFormat& format : image_formats())
    if (std::find(format.extensions.begin(), format.extensions.end(), extension) != format.extensions.end())
      return &format;
  return nullptr;
}

std::string too_many_pixels(uint64_t width, uint64_t height) {
  constexpr uint64_t kMax = ImageDecoder::kMaxPixels;
  if (width == 0 || height == 0) return "it has no pixels";
  return width > kMax || height > kMax || width * height > kMax
             ? std::to_string(width) + " x " + std::to_string(height) + " pixels are too many"
             : "";
}

void to_wanted(int64_t channels, int64_t bits, Image& dst) {
  const int64_t n = dst.height * dst.width;
  if (bits == 8 && dst.bits == 16) {  // as libpng scales: rounded
    dst.pixels.resize(dst.deep.size());
    for (size_t i = 0; i < dst.deep.size(); ++i)
      dst.pixels[i] = static_cast<uint8_t>((uint32_t{dst.deep[i]} * 255 + 32895) >> 16);
    dst.bits = 8;
  }
  const auto change = [&](auto& pixels) {
    if (channels == 1 && dst.channels == 3) rgb_to_grey(pixels.data(), n);
    pixels.resize(static_cast<size_t>(n * channels));
    if (channels != 3 || dst.channels != 1) return;
    for (int64_t i = n - 1; i >= 0; --i) pixels[3 * i] = pixels[3 * i + 1] = pixels[3 * i + 2] = pixels[i];
  };
  dst.bits == 16 ? change(dst.deep) : change(dst.pixels);
  dst.channels = channels;
  if (bits == 16 && dst.bits == 8) deepen(dst);
}

}  // namespace lockstep::detail
