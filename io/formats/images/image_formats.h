// The kinds of image files that people have: how each begins, what its files are called, who decodes it. Some
// need a library that a build may lack; then the kind is known and named, but not read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/formats/images/image_decode.h"

namespace lockstep::detail {

/// Why a file is not read: it is damaged, or whole and of a sort that is refused. Empty: it is read.
struct ImageFault {
  std::string damage = {};                // "the file ends too early"
  std::string refusal = {}, remedy = {};  // "holds 3 pages", "save each as a file of its own"
  explicit operator bool() const { return !damage.empty() || !refusal.empty(); }
};

/// What reads one kind of file; stateless, for any number of threads.
struct FormatDecoder {
  /// As ImageDecoder::decode, with the orientation applied. Null: its library is not there.
  ImageFault (*decode)(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) = nullptr;
  /// Bits of a sample as ImageDecoder::stored_bits, of a whole file; null: always 8.
  int64_t (*stored_bits)(std::span<const uint8_t> file) = nullptr;
  bool header_tells_bits = false;  // its first kHeaderBytes are enough for that
  std::string decoded_by = {};     // "libwebp 1.2.4"; empty: by no library of its own
  std::string remedy = {};         // where `decode` is null: "install libwebp-dev and build Lockstep again"
};

ImageFault decode_bmp(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst);
FormatDecoder webp_decoder();  // webp_decode.cpp or no_webp.cpp
FormatDecoder tiff_decoder();  // tiff_decode.cpp or no_tiff.cpp
FormatDecoder heic_decoder();  // heic_decode.cpp or no_heic.cpp; HEIC and AVIF. Loads libheif

struct ImageFormat {
  std::string name;                             // "TIFF"
  std::vector<std::string> extensions;          // in lower case: ".tif" …
  bool (*matches)(std::span<const uint8_t> f);  // of the first kHeaderBytes
  FormatDecoder decoder = {};
  /// "to read TIFF, install …"; empty where it is read.
  std::string remedy() const;
  bool is_read() const { return decoder.remedy.empty(); }
};

/// The extension in lower case: ".jpg"; empty: none.
std::string lower_extension(const std::string& path);

/// All kinds, JPEG and PNG first.
const std::vector<ImageFormat>& image_formats();
/// By how the file begins; null: none of them.
const ImageFormat* format_of_content(std::span<const uint8_t> file);
/// By the extension of a file's name; null: none of them.
const ImageFormat* format_of_name(const std::string& path);

/// What is wrong with so many pixels, before there is memory for them; empty if nothing is.
std::string too_many_pixels(uint64_t width, uint64_t height);
/// Files of 8 or 16 bits and 1 or 3 channels, in `dst`, to what the caller wants: grey or RGB of 8 or 16
/// bits.
void to_wanted(int64_t channels, int64_t bits, Image& dst);

}  // namespace lockstep::detail
