// The JPEG side. libjpeg reports errors through callbacks that must not return, hence longjmp:
// the frames it crosses hold no object with a destructor. Warnings that mean lost pixels are
// errors here too; harmless ones (stray bytes, odd headers) pass.
#include "io/formats/images/image_decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>
// after jpeglib.h, which it needs
#include <jerror.h>

#include "io/formats/images/image_formats.h"
#include "io/formats/images/image_orientation.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int kMaxScans = 500;  // of a progressive file; more only waste time

bool means_lost_pixels(int code) {
  switch (code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: return true;
    default: return false;
  }
}

}  // namespace

struct ImageDecoder::Jpeg {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf failed;
  char text[JMSG_LENGTH_MAX] = "";
  int orientation = 1;  // of the file started last

  Jpeg() {
    info.err = jpeg_std_error(&errors);
    info.client_data = this;
    errors.error_exit = [](j_common_ptr common) { fail(common); };
    errors.emit_message = [](j_common_ptr common, int level) {
      if (level < 0 && means_lost_pixels(common->err->msg_code)) fail(common);
    };
    errors.output_message = [](j_common_ptr) {};
    progress.progress_monitor = [](j_common_ptr common) {
      if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number <= kMaxScans) return;
      Jpeg& self = *static_cast<Jpeg*>(common->client_data);
      std::snprintf(self.text, sizeof self.text, "more than %d scans", kMaxScans);
      std::longjmp(self.failed, 1);
    };
    if (setjmp(failed) != 0) throw Error("libjpeg", text, "install the libjpeg this was built with");
    jpeg_create_decompress(&info);
    info.progress = &progress;
  }
  ~Jpeg() { jpeg_destroy_decompress(&info); }

  [[noreturn]] static void fail(j_common_ptr common) {
    Jpeg& self = *static_cast<Jpeg*>(common->client_data);
    common->err->format_message(common, self.text);
    std::longjmp(self.failed, 1);
  }

  /// Reads the header and chooses the colour space that the library converts to.
  bool start(std::span<const uint8_t> file, int64_t channels) {
    text[0] = '\0';
    orientation = 1;
    if (setjmp(failed) != 0) return false;
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xffff);  // EXIF
    jpeg_mem_src(&info, file.data(), static_cast<unsigned long>(file.size()));
    jpeg_read_header(&info, TRUE);
    for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next) {
      if (marker->data_length < 6 || std::memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
      orientation = detail::exif_orientation({marker->data + 6, marker->data_length - 6});
      break;
    }
    if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK)
      info.out_color_space = JCS_CMYK;
    else
      info.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    const int64_t n_pixels = static_cast<int64_t>(info.image_width) * info.image_height;
    if (n_pixels > std::min(kMaxPixels, static_cast<int64_t>(file.size()) * kMaxJpegPixelsPerByte)) {
      std::snprintf(text, sizeof text, "%u x %u pixels are too many for its %zu bytes", info.image_width,
                    info.image_height, file.size());
      return false;
    }
    return true;
  }

  /// pixels: (height, width, components of the colour space chosen).
  bool finish(uint8_t* pixels, size_t row_bytes) {
    if (setjmp(failed) != 0) return false;
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      constexpr int kRows = 16;
      JSAMPROW rows[kRows];
      const JDIMENSION left = info.output_height - info.output_scanline;
      const JDIMENSION n = left < kRows ? left : kRows;
      for (JDIMENSION i = 0; i < n; ++i) rows[i] = pixels + (info.output_scanline + i) * row_bytes;
      jpeg_read_scanlines(&info, rows, n);
    }
    jpeg_finish_decompress(&info);
    return true;
  }
};

namespace {

/// Adobe writes CMYK inverted (255: no ink), and every reader expects that.
void cmyk_to_rgb(std::vector<uint8_t>& pixels, int64_t n, bool inverted) {
  for (int64_t i = 0; i < n; ++i) {
    const int key = inverted ? pixels[4 * i + 3] : 255 - pixels[4 * i + 3];
    for (int64_t c = 0; c < 3; ++c) {
      const int ink = inverted ? pixels[4 * i + c] : 255 - pixels[4 * i + c];
      pixels[3 * i + c] = static_cast<uint8_t>((ink * key + 127) / 255);
    }
  }
}

/// "JPEG, PNG … or HEIC"
std::string all_kinds() {
  std::string text;
  const auto& formats = detail::image_formats();
  for (size_t i = 0; i < formats.size(); ++i)
    text += (i == 0 ? "" : i + 1 < formats.size() ? ", " : " or ") + formats[i].name;
  return text;
}

}  // namespace

ImageDecoder::ImageDecoder() : jpeg_(std::make_unique<Jpeg>()) {}
ImageDecoder::~ImageDecoder() = default;

const Image& ImageDecoder::decode(std::span<const uint8_t> file, int64_t channels, const std::string& name,
                                  int64_t bits) {
  const std::string remedy = kReplace;
  image_.bits = 8;
  const detail::ImageFormat* format = detail::format_of_content(file);
  if (format == nullptr)
    throw Error(name, file.empty() ? "is empty" : "is no " + all_kinds() + " file", remedy);
  if (!format->is_read())
    throw Error(name, "is of a kind that this build does not read: " + format->name, format->remedy());
  if (format->decoder.decode != nullptr) {
    const detail::ImageFault fault = format->decoder.decode(file, channels, bits, image_);
    if (!fault.refusal.empty()) throw Error(name, fault.refusal, fault.remedy);
    if (fault) throw Error(name, "is a damaged " + format->name + " file: " + fault.damage, remedy);
    return image_;
  }

  Jpeg& jpeg = *jpeg_;
  const auto check = [&](bool ok) {
    if (ok) return;
    jpeg_abort_decompress(&jpeg.info);
    throw Error(name, std::string("is a damaged JPEG file: ") + jpeg.text, remedy);
  };
  check(jpeg.start(file, channels));
  const bool cmyk = jpeg.info.out_color_space == JCS_CMYK, inverted = jpeg.info.saw_Adobe_marker;
  image_.height = jpeg.info.image_height;
  image_.width = jpeg.info.image_width;
  image_.channels = channels;
  const int64_t n_pixels = image_.height * image_.width, n_stored = cmyk ? 4 : channels;
  image_.pixels.resize(static_cast<size_t>(n_pixels * n_stored));
  check(jpeg.finish(image_.pixels.data(), static_cast<size_t>(image_.width * n_stored)));
  if (cmyk) {
    cmyk_to_rgb(image_.pixels, n_pixels, inverted);
    if (channels == 1) detail::rgb_to_grey(image_.pixels.data(), n_pixels);
    image_.pixels.resize(static_cast<size_t>(n_pixels * channels));
  }
  if (bits == 16) detail::deepen(image_);
  detail::orient(jpeg.orientation, image_);
  return image_;
}

int64_t ImageDecoder::stored_bits(std::span<const uint8_t> file) {
  const detail::ImageFormat* format = detail::format_of_content(file);
  return format != nullptr && format->decoder.stored_bits != nullptr ? format->decoder.stored_bits(file) : 8;
}

void detail::deepen(Image& image) {
  image.deep.resize(image.pixels.size());
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.deep[i] = static_cast<uint16_t>(image.pixels[i] * 257);
  image.bits = 16;
}

}  // namespace lockstep
