// Writers of image_files.h. Errors abort the test program, which is what a fixture should do.
#include "tests/io/image_files.h"

#include <png.h>

#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>

namespace lockstep::testing {

std::string make_exif(int orientation, bool little_endian) {
  std::string exif = little_endian ? "II" : "MM";
  const auto put = [&](unsigned value, int n_bytes) {
    for (int i = 0; i < n_bytes; ++i)
      exif += static_cast<char>(value >> 8 * (little_endian ? i : n_bytes - 1 - i) & 0xff);
  };
  put(42, 2), put(8, 4), put(2, 2);
  put(0x010f, 2), put(2, 2), put(4, 4), put(0x414243, 4);  // Make
  put(0x0112, 2), put(3, 2), put(1, 4), put(static_cast<unsigned>(orientation), 2), put(0, 2);
  put(0, 4);
  return exif;
}

std::string make_png(int height, int width, const std::vector<uint8_t>& rows, const PngOptions& options) {
  std::string file;
  png_structp png = png_create_write_struct(
      PNG_LIBPNG_VER_STRING, nullptr,
      [](png_structp, png_const_charp message) {
        std::fprintf(stderr, "make_png: %s\n", message);
        std::abort();
      },
      nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep data, size_t n) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), n);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
               options.bit_depth, options.color_type,
               options.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> palette;
  for (size_t i = 0; i + 2 < options.palette.size(); i += 3)
    palette.push_back({options.palette[i], options.palette[i + 1], options.palette[i + 2]});
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
#ifdef PNG_eXIf_SUPPORTED
  std::string exif = make_exif(options.orientation, false);
  if (options.orientation > 0)
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()),
                   reinterpret_cast<png_bytep>(exif.data()));
#endif
  png_write_info(png, info);
  const int n_passes = png_set_interlace_handling(png);
  const size_t row_bytes = png_get_rowbytes(png, info);
  if (rows.size() != row_bytes * static_cast<size_t>(height)) std::abort();
  for (int pass = 0; pass < n_passes; ++pass)
    for (int y = 0; y < height; ++y) png_write_row(png, rows.data() + static_cast<size_t>(y) * row_bytes);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::string make_jpeg(int height, int width, const std::vector<uint8_t>& pixels, const JpegOptions& options) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);  // exits on errors
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long n_bytes = 0;
  jpeg_mem_dest(&info, &data, &n_bytes);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = options.channels;
  info.in_color_space = options.channels == 1 ? JCS_GRAYSCALE : options.channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, options.quality, TRUE);
  if (options.progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (options.orientation > 0) {
    const std::string exif = std::string("Exif\0\0", 6) + make_exif(options.orientation, true);
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(exif.data()),
                      static_cast<unsigned>(exif.size()));
  }
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<JSAMPROW>(pixels.data() + static_cast<size_t>(y * width * options.channels));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string file(reinterpret_cast<char*>(data), n_bytes);
  std::free(data);
  jpeg_destroy_compress(&info);
  return file;
}

}  // namespace lockstep::testing
