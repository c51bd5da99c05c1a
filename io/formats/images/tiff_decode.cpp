// TIFF through libtiff: grey, RGB and palettes of up to 16 bits, in strips or tiles. What has no one meaning
// as a picture is refused: several pages, bands that are no colours, numbers with fractions or signs, inks.
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>

#include "io/formats/images/image_formats.h"
#include "io/formats/images/image_orientation.h"

namespace lockstep::detail {

namespace {

/// What libtiff said first of the file that this thread reads. Its handlers are the process's.
thread_local char tiff_error[256] = "";

void keep_tiff_error(const char* text, va_list arguments) {
  if (tiff_error[0] == '\0') std::vsnprintf(tiff_error, sizeof tiff_error, text, arguments);
}

void set_tiff_handlers() {
  TIFFSetErrorHandler(
      [](const char*, const char* text, va_list arguments) { keep_tiff_error(text, arguments); });
  // Of lost pixels some codecs only warn.
  TIFFSetWarningHandler([](const char* module, const char* text, va_list arguments) {
    const std::string from = module == nullptr ? "" : module;
    if (from == "JPEGLib" || (from.starts_with("Fax") && from.find("Decode") != std::string::npos))
      keep_tiff_error(text, arguments);
  });
}

/// A file in memory, as libtiff reads it.
class TiffFile {
 public:
  explicit TiffFile(std::span<const uint8_t> content) : content_(content) {
    static const bool once = (set_tiff_handlers(), true);
    (void)once;
    tiff_error[0] = '\0';
    // m: not mapped, which would look past the end of a short file.
    tiff_.reset(TIFFClientOpen(
        "image", "rm", this, read, [](thandle_t, void*, tmsize_t) -> tmsize_t { return -1; }, seek,
        [](thandle_t) { return 0; },
        [](thandle_t self) { return static_cast<toff_t>(static_cast<TiffFile*>(self)->content_.size()); },
        nullptr, nullptr));
  }
  TiffFile(const TiffFile&) = delete;
  TiffFile& operator=(const TiffFile&) = delete;

  explicit operator bool() const { return tiff_ != nullptr; }
  TIFF* get() const { return tiff_.get(); }

 private:
  static tmsize_t read(thandle_t self, void* dst, tmsize_t n) {
    auto& file = *static_cast<TiffFile*>(self);
    const size_t left = file.at_ < file.content_.size() ? file.content_.size() - file.at_ : 0;
    const size_t n_read = std::min(left, static_cast<size_t>(std::max<tmsize_t>(n, 0)));
    if (n_read > 0) std::memcpy(dst, file.content_.data() + file.at_, n_read);
    file.at_ += n_read;
    return static_cast<tmsize_t>(n_read);
  }
  static toff_t seek(thandle_t self, toff_t offset, int from) {
    auto& file = *static_cast<TiffFile*>(self);
    const size_t base = from == SEEK_CUR ? file.at_ : from == SEEK_END ? file.content_.size() : 0;
    return file.at_ = base + static_cast<size_t>(offset);
  }

  struct Close {
    void operator()(TIFF* tiff) const { TIFFClose(tiff); }
  };
  std::span<const uint8_t> content_;
  size_t at_ = 0;
  std::unique_ptr<TIFF, Close> tiff_;
};

template <typename T>
T tiff_tag(TIFF* tiff, uint32_t which, T otherwise = {}) {
  T value = otherwise;
  return TIFFGetFieldDefaulted(tiff, which, &value) == 1 ? value : otherwise;
}

ImageFault damaged_tiff(const char* otherwise) { return {tiff_error[0] != '\0' ? tiff_error : otherwise}; }
ImageFault no_tiff_picture(std::string why) {
  return {
      .refusal = std::move(why),
      .remedy = "save it with 8 or 16 bits as grey or RGB, or make an array of it (lockstep convert npy)"};
}
ImageFault no_tiff_rgb(std::string why) { return {.refusal = std::move(why), .remedy = "save it as RGB"}; }

/// Stands at the file's one page. Thumbnails and masks are not counted.
ImageFault find_page(TIFF* tiff) {
  constexpr int kMaxDirectories = 1000;
  int n_pages = 0, page = 0, at = 0;
  do {
    const auto subfile = tiff_tag<uint32_t>(tiff, TIFFTAG_SUBFILETYPE);
    const auto old = tiff_tag<uint16_t>(tiff, TIFFTAG_OSUBFILETYPE);
    if ((subfile & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)) != 0 || old == OFILETYPE_REDUCEDIMAGE) continue;
    if (n_pages++ == 0) page = at;
  } while (++at < kMaxDirectories && TIFFReadDirectory(tiff) == 1);
  if (tiff_error[0] != '\0') return {tiff_error};
  if (n_pages > 1)
    return {.refusal = "holds " + std::to_string(n_pages) + " pages, not one image",
            .remedy = "save each as a file of its own, or make an array of them (lockstep convert npy)"};
  return TIFFSetDirectory(tiff, static_cast<tdir_t>(page)) == 1 ? ImageFault{}
                                                                : damaged_tiff("its directory is damaged");
}

struct TiffLayout {
  uint32_t width = 0, height = 0;
  uint16_t bits = 1, samples = 1, photometric = 0, compression = 1;
  bool separate = false;  // a plane per sample
  int64_t colours = 1;    // samples that are taken
};

/// Reads the tags and judges them.
ImageFault find_layout(TIFF* tiff, size_t file_bytes, TiffLayout& layout) {
  layout.width = tiff_tag<uint32_t>(tiff, TIFFTAG_IMAGEWIDTH);
  layout.height = tiff_tag<uint32_t>(tiff, TIFFTAG_IMAGELENGTH);
  layout.bits = tiff_tag<uint16_t>(tiff, TIFFTAG_BITSPERSAMPLE, 1);
  layout.samples = tiff_tag<uint16_t>(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
  layout.photometric = tiff_tag<uint16_t>(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
  layout.compression = tiff_tag<uint16_t>(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
  layout.separate =
      tiff_tag<uint16_t>(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
  if (std::string fault = too_many_pixels(layout.width, layout.height); !fault.empty()) return {fault};
  if (TIFFIsCODECConfigured(layout.compression) == 0)
    return {.refusal = "is compressed in a way that libtiff does not read, number " +
                       std::to_string(layout.compression),
            .remedy = "save it with another compression"};

  const auto format = tiff_tag<uint16_t>(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
  if (format == SAMPLEFORMAT_IEEEFP)
    return no_tiff_picture("holds numbers with fractions (float" + std::to_string(layout.bits) + ")");
  if (format == SAMPLEFORMAT_INT) return no_tiff_picture("holds numbers with signs");
  if (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID)
    return no_tiff_picture("holds numbers of an unusual type");

  switch (layout.photometric) {
    case PHOTOMETRIC_MINISBLACK:
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_PALETTE: layout.colours = 1; break;
    case PHOTOMETRIC_RGB:
    case PHOTOMETRIC_YCBCR: layout.colours = 3; break;
    case PHOTOMETRIC_SEPARATED: return no_tiff_rgb("holds inks (CMYK), not colours of light");
    default:
      return no_tiff_rgb("holds colours of a kind that is not read, number " +
                         std::to_string(layout.photometric));
  }
  uint16_t n_extra = 0;
  const uint16_t* extra = nullptr;
  TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &n_extra, &extra);
  // One sample more is alpha, also in RGB files whose writer did not say so.
  const int64_t n_more = layout.samples - layout.colours;
  const bool alpha = n_extra >= 1 && extra != nullptr && extra[0] != EXTRASAMPLE_UNSPECIFIED;
  if (n_more < 0) return {"it has too few samples a pixel"};
  if (n_more > 1 || (n_more == 1 && layout.colours == 1 && !alpha))
    return no_tiff_picture("holds " + std::to_string(layout.samples) +
                           " numbers a pixel, which are not grey or RGB");
  const bool small = layout.bits == 1 || layout.bits == 2 || layout.bits == 4;
  if (!(layout.bits == 8 || (layout.bits == 16 && layout.photometric != PHOTOMETRIC_PALETTE) ||
        (small && layout.colours == 1 && n_more == 0)))
    return no_tiff_picture("holds numbers of " + std::to_string(layout.bits) + " bits");

  const int64_t image_bits = int64_t{layout.width} * layout.height * layout.samples * layout.bits;
  const bool bounded = layout.compression == COMPRESSION_NONE || layout.compression == COMPRESSION_LZW ||
                       layout.compression == COMPRESSION_PACKBITS ||
                       layout.compression == COMPRESSION_ADOBE_DEFLATE ||
                       layout.compression == COMPRESSION_DEFLATE || layout.compression == COMPRESSION_JPEG;
  constexpr int64_t kMostOfOne = 4096;  // bytes from one: LZW's longest string; the others make fewer
  const int64_t most = layout.compression == COMPRESSION_NONE ? 1 : kMostOfOne;
  if (bounded && image_bits / 8 / most > static_cast<int64_t>(file_bytes))
    return {"it has more pixels than the file can hold"};
  constexpr int64_t kRoom = int64_t{64} << 20;
  const int64_t piece = TIFFIsTiled(tiff) ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff);
  if (piece <= 0 || piece > kRoom + image_bits / 8) return {"the size of its strips or tiles is damaged"};
  return {};
}

/// Whether the samples are read as they are; else libtiff makes RGB of 8 bits of them.
bool reads_samples(const TiffLayout& layout) {
  return layout.bits >= 8 && layout.photometric != PHOTOMETRIC_PALETTE &&
         layout.photometric != PHOTOMETRIC_YCBCR;
}

/// Copies strip by strip, or tile by tile, the first `colours` samples of each pixel. T: uint8_t or uint16_t.
template <typename T>
bool read_samples(TIFF* tiff, const TiffLayout& layout, T* dst) {
  const bool tiled = TIFFIsTiled(tiff) != 0;
  const auto tile_width = tiled ? tiff_tag<uint32_t>(tiff, TIFFTAG_TILEWIDTH) : layout.width;
  auto tile_height =
      tiff_tag<uint32_t>(tiff, tiled ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP, layout.height);
  if (!tiled) tile_height = std::min(tile_height, layout.height);
  if (tile_width == 0 || tile_height == 0) return false;
  const tmsize_t n_bytes = tiled ? TIFFTileSize(tiff) : TIFFStripSize(tiff);
  const int64_t n_planes = layout.separate ? layout.colours : 1;
  const int64_t stored = layout.separate ? 1 : layout.samples, taken = layout.separate ? 1 : layout.colours;
  std::vector<T> piece(static_cast<size_t>(n_bytes) / sizeof(T) + 1);
  for (int64_t plane = 0; plane < n_planes; ++plane)
    for (uint32_t top = 0; top < layout.height; top += std::min(tile_height, layout.height - top))
      for (uint32_t left = 0; left < layout.width; left += std::min(tile_width, layout.width - left)) {
        const auto sample = static_cast<uint16_t>(plane);
        const int64_t rows = std::min(tile_height, layout.height - top);
        const int64_t columns = std::min(tile_width, layout.width - left);
        const tmsize_t n_read =
            tiled ? TIFFReadTile(tiff, piece.data(), left, top, 0, sample)
                  : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, top, sample), piece.data(), n_bytes);
        const auto last = static_cast<size_t>(((rows - 1) * tile_width + columns) * stored);
        if (n_read < 0 || tiff_error[0] != '\0' || static_cast<size_t>(n_read) < last * sizeof(T))
          return false;
        for (int64_t y = 0; y < rows; ++y)
          for (int64_t x = 0; x < columns; ++x)
            for (int64_t c = 0; c < taken; ++c)
              dst[((top + y) * layout.width + left + x) * layout.colours + plane + c] =
                  piece[static_cast<size_t>((y * tile_width + x) * stored + c)];
      }
  return true;
}

/// Palettes, few bits and YCbCr, through libtiff's own conversion.
bool read_converted(TIFF* tiff, const TiffLayout& layout, std::vector<uint8_t>& rgb) {
  const size_t n = size_t{layout.width} * layout.height;
  std::vector<uint32_t> raster(n);
  // The orientation as stored: whoever calls applies it.
  if (TIFFReadRGBAImageOriented(tiff, layout.width, layout.height, raster.data(),
                                tiff_tag<uint16_t>(tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT), 1) != 1 ||
      tiff_error[0] != '\0')
    return false;
  rgb.resize(n * 3);
  for (size_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c)
      rgb[3 * i + static_cast<size_t>(c)] = static_cast<uint8_t>(raster[i] >> 8 * c);
  return true;
}

ImageFault decode_tiff(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  const TiffFile opened(file);
  if (!opened) return damaged_tiff("its header is damaged");
  TIFF* const tiff = opened.get();
  if (ImageFault fault = find_page(tiff)) return fault;
  TiffLayout layout;
  if (ImageFault fault = find_layout(tiff, file.size(), layout)) return fault;
  if (layout.photometric == PHOTOMETRIC_YCBCR && layout.compression == COMPRESSION_JPEG) {
    TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    layout.photometric = PHOTOMETRIC_RGB;
  }

  dst.height = layout.height;
  dst.width = layout.width;
  dst.channels = layout.colours;
  dst.bits = layout.bits == 16 ? 16 : 8;
  const auto n = static_cast<size_t>(dst.height * dst.width * dst.channels);
  const auto invert = [&](auto& pixels) {
    if (layout.photometric != PHOTOMETRIC_MINISWHITE) return;
    for (auto& pixel : pixels) pixel = static_cast<std::remove_reference_t<decltype(pixel)>>(~pixel);
  };
  bool ok = false;
  if (!reads_samples(layout)) {
    dst.channels = 3;
    ok = read_converted(tiff, layout, dst.pixels);
  } else if (dst.bits == 16) {
    dst.deep.resize(n);
    ok = read_samples(tiff, layout, dst.deep.data());
    invert(dst.deep);
  } else {
    dst.pixels.resize(n);
    ok = read_samples(tiff, layout, dst.pixels.data());
    invert(dst.pixels);
  }
  if (!ok) return damaged_tiff("its pixels are damaged or cut off");
  to_wanted(channels, bits, dst);
  orient(tiff_tag<uint16_t>(tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT), dst);
  return {};
}

int64_t tiff_bits(std::span<const uint8_t> file) {
  const TiffFile opened(file);
  return opened && tiff_tag<uint16_t>(opened.get(), TIFFTAG_BITSPERSAMPLE, 1) == 16 ? 16 : 8;
}

}  // namespace

FormatDecoder tiff_decoder() {
  std::string version = TIFFGetVersion();  // "LIBTIFF, Version 4.5.0\n…"
  version = version.substr(0, version.find('\n'));
  const size_t number = version.find_last_of(' ');
  return {.decode = decode_tiff,
          .stored_bits = tiff_bits,
          .decoded_by = "libtiff " + (number == std::string::npos ? version : version.substr(number + 1))};
}

}  // namespace lockstep::detail
