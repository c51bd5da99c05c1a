// Writers of more_image_files.h. Errors abort the test program, which is what a fixture should do.
#include "tests/io/more_image_files.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/io/image_files.h"
#ifdef LOCKSTEP_HAS_WEBP
#include <webp/encode.h>
#endif
#ifdef LOCKSTEP_HAS_TIFF
#include <tiffio.h>
#endif
#ifdef LOCKSTEP_HAS_HEIC
#include <libheif/heif.h>
#endif

namespace lockstep::testing {

namespace {

void put(std::string& text, uint32_t value, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i) text += static_cast<char>(value >> 8 * i & 0xff);
}

[[maybe_unused]] void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "an image file of a test could not be made: %s\n", what);
  std::abort();
}

}  // namespace

std::string make_bmp(int height, int width, int bits, const std::vector<uint8_t>& rows,
                     const std::vector<uint8_t>& palette_bgr0, bool top_down) {
  std::string file = "BM";
  const auto offset = static_cast<uint32_t>(54 + palette_bgr0.size());
  put(file, offset + static_cast<uint32_t>(rows.size()), 4), put(file, 0, 4), put(file, offset, 4);
  put(file, 40, 4), put(file, static_cast<uint32_t>(width), 4);
  put(file, static_cast<uint32_t>(top_down ? -height : height), 4);
  put(file, 1, 2), put(file, static_cast<uint32_t>(bits), 2), put(file, 0, 4), put(file, 0, 4);
  put(file, 2835, 4), put(file, 2835, 4), put(file, static_cast<uint32_t>(palette_bgr0.size() / 4), 4);
  put(file, 0, 4);
  file.append(palette_bgr0.begin(), palette_bgr0.end());
  file.append(rows.begin(), rows.end());
  return file;
}

#ifdef LOCKSTEP_HAS_WEBP
std::string make_webp(int height, int width, int channels, const std::vector<uint8_t>& pixels,
                      int orientation) {
  uint8_t* data = nullptr;
  const size_t n = channels == 4 ? WebPEncodeLosslessRGBA(pixels.data(), width, height, width * 4, &data)
                                 : WebPEncodeLosslessRGB(pixels.data(), width, height, width * 3, &data);
  expect(n > 0, "WebP");
  std::string file(reinterpret_cast<char*>(data), n);
  WebPFree(data);
  if (orientation == 0) return file;
  // The extended form: VP8X says that there is EXIF, which comes after the pixels.
  std::string body = "WEBPVP8X";
  put(body, 10, 4), put(body, 0x08, 4);
  put(body, static_cast<uint32_t>(width - 1), 3), put(body, static_cast<uint32_t>(height - 1), 3);
  body += file.substr(12);
  const std::string exif = make_exif(orientation, true);
  body += "EXIF";
  put(body, static_cast<uint32_t>(exif.size()), 4);
  body += exif;
  if (exif.size() % 2 != 0) body += '\0';
  file = "RIFF";
  put(file, static_cast<uint32_t>(body.size()), 4);
  return file + body;
}
#else
std::string make_webp(int, int, int, const std::vector<uint8_t>&, int) { return ""; }
#endif

#ifdef LOCKSTEP_HAS_TIFF
std::string make_tiff(int height, int width, const std::vector<uint8_t>& pixels, const TiffOptions& options) {
  char path[] = "/tmp/lockstep-tiff-XXXXXX";
  close(mkstemp(path));
  const std::string mode =
      std::string("w") + (options.big_endian ? "b" : "l") + (options.big_tiff ? "8" : "");
  TIFF* tiff = TIFFOpen(path, mode.c_str());
  expect(tiff != nullptr, "TIFF");
  const int n_directories = options.pages + (options.with_thumbnail ? 1 : 0);
  const int planes = options.separate ? options.channels : 1;
  const int samples = options.separate ? 1 : options.channels;
  const int row_bytes = (width * samples * options.bits + 7) / 8;
  for (int page = 0; page < n_directories; ++page) {
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, height);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, options.channels);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, options.bits);
    TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, options.sample_format);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, options.compression);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, options.photometric);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, options.separate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (options.orientation > 0) TIFFSetField(tiff, TIFFTAG_ORIENTATION, options.orientation);
    if (options.with_thumbnail && page == 0) TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
    const auto kind = static_cast<uint16_t>(options.extra);
    if (options.extra >= 0) TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
    const size_t n = size_t{1} << options.bits;
    if (!options.palette.empty())
      TIFFSetField(tiff, TIFFTAG_COLORMAP, options.palette.data(), options.palette.data() + n,
                   options.palette.data() + 2 * n);
    if (options.tile > 0) {
      TIFFSetField(tiff, TIFFTAG_TILEWIDTH, options.tile);
      TIFFSetField(tiff, TIFFTAG_TILELENGTH, options.tile);
      const int pixel = samples * options.bits / 8;
      for (int plane = 0; plane < planes; ++plane)
        for (int top = 0; top < height; top += options.tile)
          for (int left = 0; left < width; left += options.tile) {
            std::vector<uint8_t> tile(static_cast<size_t>(options.tile * options.tile * pixel), 0x5a);
            for (int y = 0; y < options.tile && top + y < height; ++y)
              std::memcpy(tile.data() + y * options.tile * pixel,
                          pixels.data() + (plane * height + top + y) * row_bytes + left * pixel,
                          static_cast<size_t>(std::min(options.tile, width - left) * pixel));
            expect(TIFFWriteTile(tiff, tile.data(), static_cast<uint32_t>(left), static_cast<uint32_t>(top),
                                 0, static_cast<uint16_t>(plane)) > 0,
                   "TIFF tile");
          }
    } else {
      TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, options.compression == COMPRESSION_JPEG ? 16 : 3);
      for (int plane = 0; plane < planes; ++plane)
        for (int y = 0; y < height; ++y) {
          std::vector<uint8_t> row(static_cast<size_t>(row_bytes));  // libtiff changes it
          std::memcpy(row.data(), pixels.data() + (plane * height + y) * row_bytes, row.size());
          expect(TIFFWriteScanline(tiff, row.data(), static_cast<uint32_t>(y),
                                   static_cast<uint16_t>(plane)) == 1,
                 "TIFF row");
        }
    }
    expect(TIFFWriteDirectory(tiff) == 1, "TIFF directory");
  }
  TIFFClose(tiff);
  std::ifstream in(path, std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  unlink(path);
  return content.str();
}
#else
std::string make_tiff(int, int, const std::vector<uint8_t>&, const TiffOptions&) { return ""; }
#endif

#ifdef LOCKSTEP_HAS_HEIC
std::string make_heic(int height, int width, const std::vector<uint16_t>& pixels, int bits, int orientation,
                      int n_images) {
  heif_context* context = heif_context_alloc();
  heif_encoder* encoder = nullptr;
  if (heif_context_get_encoder_for_format(context, heif_compression_HEVC, &encoder).code != heif_error_Ok) {
    heif_context_free(context);
    return "";
  }
  // Nothing is lost without a change of colours and of resolution.
  heif_encoder_set_lossless(encoder, 1);
  heif_encoder_set_parameter(encoder, "chroma", "444");
  heif_color_profile_nclx* colours = heif_nclx_color_profile_alloc();
  colours->matrix_coefficients = heif_matrix_coefficients_RGB_GBR;
  heif_encoding_options* options = heif_encoding_options_alloc();
  options->output_nclx_profile = colours;
  options->image_orientation = static_cast<heif_orientation>(orientation);
  for (int i = 0; i < n_images; ++i) {
    heif_image* image = nullptr;
    expect(
        heif_image_create(width, height, heif_colorspace_RGB,
                          bits == 8 ? heif_chroma_interleaved_RGB : heif_chroma_interleaved_RRGGBB_LE, &image)
                .code == heif_error_Ok,
        "HEIC");
    heif_image_add_plane(image, heif_channel_interleaved, width, height, bits);
    heif_image_set_nclx_color_profile(image, colours);
    int stride = 0;
    uint8_t* plane = heif_image_get_plane(image, heif_channel_interleaved, &stride);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width * 3; ++x) {
        const uint16_t value = pixels[static_cast<size_t>(y * width * 3 + x)];
        uint8_t* at = plane + y * stride + x * (bits == 8 ? 1 : 2);
        at[0] = static_cast<uint8_t>(value & 0xff);
        if (bits > 8) at[1] = static_cast<uint8_t>(value >> 8);
      }
    heif_image_handle* handle = nullptr;
    const heif_error error = heif_context_encode_image(context, image, encoder, options, &handle);
    expect(error.code == heif_error_Ok, error.message);
    heif_image_handle_release(handle);
    heif_image_release(image);
  }
  std::string file;
  heif_writer writer{};
  writer.writer_api_version = 1;
  writer.write = [](heif_context*, const void* data, size_t n, void* to) {
    static_cast<std::string*>(to)->assign(static_cast<const char*>(data), n);
    return heif_error{heif_error_Ok, heif_suberror_Unspecified, ""};
  };
  heif_context_write(context, &writer, &file);
  heif_encoding_options_free(options);
  heif_nclx_color_profile_free(colours);
  heif_encoder_release(encoder);
  heif_context_free(context);
  return file;
}
#else
std::string make_heic(int, int, const std::vector<uint16_t>&, int, int, int) { return ""; }
#endif

}  // namespace lockstep::testing
