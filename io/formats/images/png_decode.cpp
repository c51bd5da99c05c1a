// The PNG side of image_decode.h: palettes, 1 to 16 bits, alpha and interlacing are reduced to grey or RGB of
// 8 or 16 bits by libpng. Its errors arrive by longjmp; the frame holds no object with a destructor.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "io/formats/images/image_decode.h"
#include "io/formats/images/image_orientation.h"

namespace lockstep::detail {

namespace {

struct PngReader {
  std::span<const uint8_t> file;
  size_t at = 0;
  char text[128] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<png_bytep> rows;
  int orientation = 1;

  explicit PngReader(std::span<const uint8_t> content) : file(content) {
    const auto on_error = [](png_structp p, png_const_charp message) {
      auto* self = static_cast<PngReader*>(png_get_error_ptr(p));
      std::snprintf(self->text, sizeof self->text, "%s", message);
      png_longjmp(p, 1);
    };
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png) info = png_create_info_struct(png);
  }
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  static void read(png_structp p, png_bytep dst, size_t n) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(p));
    if (n > self->file.size() - self->at) png_error(p, "the file ends too early");
    std::memcpy(dst, self->file.data() + self->at, n);
    self->at += n;
  }

  /// Header and conversions; sets height, width and channels of the rows to come.
  bool start(int64_t channels, int64_t bits, Image& dst) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_set_read_fn(png, this, read);
    png_set_user_limits(png, 1U << 20, 1U << 20);
    png_read_info(png, info);
    if (static_cast<int64_t>(png_get_image_width(png, info)) * png_get_image_height(png, info) >
        ImageDecoder::kMaxPixels)
      png_error(png, "too many pixels");
    // zlib makes at most 1032 bytes of one.
    if (png_get_rowbytes(png, info) * png_get_image_height(png, info) / 1032 > file.size())
      png_error(png, "more pixels than the file can hold");
    const int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    dst.bits = depth == 16 && bits == 16 ? 16 : 8;
    if (dst.bits == 16)
      png_set_swap(png);  // PNG is big-endian
    else if (depth == 16)
      png_set_scale_16(png);
    png_set_strip_alpha(png);
    if (channels == 3 && (type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA))
      png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    dst.height = png_get_image_height(png, info);
    dst.width = png_get_image_width(png, info);
    dst.channels = png_get_channels(png, info);
    if (png_get_rowbytes(png, info) != static_cast<size_t>(dst.width * dst.channels * (dst.bits / 8)))
      png_error(png, "unusual sample layout");
    return true;
  }

  bool finish() {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_image(png, rows.data());
    png_read_end(png, info);
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 n_exif = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(png, info, &n_exif, &exif) != 0 && exif != nullptr)
      orientation = exif_orientation({exif, n_exif});
#endif
    return true;
  }
};

}  // namespace

std::string decode_png(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  PngReader reader(file);
  if (!reader.png || !reader.info) return "libpng has no memory";
  if (!reader.start(channels, bits, dst)) return reader.text;
  const int64_t n_pixels = dst.height * dst.width, row_bytes = dst.width * dst.channels * (dst.bits / 8);
  const auto prepare = [&](auto& pixels) {
    pixels.resize(static_cast<size_t>(n_pixels * dst.channels));
    for (int64_t y = 0; y < dst.height; ++y)
      reader.rows.push_back(reinterpret_cast<png_bytep>(pixels.data()) + y * row_bytes);
  };
  const auto reduce = [&](auto& pixels) {
    if (channels == 1 && dst.channels == 3) rgb_to_grey(pixels.data(), n_pixels);
    pixels.resize(static_cast<size_t>(n_pixels * channels));
  };
  dst.bits == 16 ? prepare(dst.deep) : prepare(dst.pixels);
  if (!reader.finish()) return reader.text;
  dst.bits == 16 ? reduce(dst.deep) : reduce(dst.pixels);
  dst.channels = channels;
  if (bits == 16 && dst.bits == 8) deepen(dst);
  orient(reader.orientation, dst);
  return {};
}

}  // namespace lockstep::detail
