// PNG: a signature and chunks of (length, type, data, CRC); ISO/IEC 15948. Rows carry the
// filter type 0, which compresses the small flat images of a report well enough.
#include "src/report/png.h"

#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <string_view>

#include "io/files/base64.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

void append_u32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

void append_chunk(std::string& out, std::string_view type, const std::string& data) {
  append_u32(out, static_cast<uint32_t>(data.size()));
  const std::string checked = std::string(type) + data;
  out += checked;
  append_u32(out, static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(checked.data()),
                                              static_cast<uInt>(checked.size()))));
}

}  // namespace

std::string png_bytes(const PngImage& image) {
  const size_t row = static_cast<size_t>(image.width) * static_cast<size_t>(image.channels);
  assert(image.pixels.size() == row * static_cast<size_t>(image.height));
  std::string raw;
  raw.reserve((row + 1) * static_cast<size_t>(image.height));
  for (int y = 0; y < image.height; ++y) {
    raw += '\0';
    raw.append(reinterpret_cast<const char*>(image.pixels.data()) + row * static_cast<size_t>(y), row);
  }
  uLongf n_bytes = compressBound(static_cast<uLong>(raw.size()));
  std::string packed(n_bytes, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &n_bytes, reinterpret_cast<const Bytef*>(raw.data()),
                static_cast<uLong>(raw.size()), 9) != Z_OK) {
    throw Error("report", "zlib could not compress an image", "leave more memory free on this host");
  }
  packed.resize(n_bytes);

  std::string header;
  append_u32(header, static_cast<uint32_t>(image.width));
  append_u32(header, static_cast<uint32_t>(image.height));
  header += '\x08';                                                                    // bits per channel
  header += static_cast<char>(image.channels == 1 ? 0 : image.channels == 3 ? 2 : 6);  // colour type
  header.append(3, '\0');  // deflate, filters, no interlace

  std::string out = "\x89PNG\r\n\x1a\n";
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT", packed);
  append_chunk(out, "IEND", {});
  return out;
}

std::string png_data_uri(const PngImage& image) {
  return "data:image/png;base64," + to_base64(png_bytes(image));
}

}  // namespace lockstep
