#include "io/files/base64.h"

#include <algorithm>
#include <array>

#include "kernels/error.h"

namespace lockstep {

namespace {
constexpr std::string_view kBase64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

std::string to_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (j < n ? static_cast<uint8_t>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) out += j <= n ? kBase64Digits[word >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::vector<uint8_t> from_base64(std::string_view text, const std::string& where) {
  const Error broken(where, "holds text that is no base64", "write the file again");
  if (text.size() % 4 != 0) throw broken;
  size_t n_padding = 0;
  while (n_padding < 2 && n_padding < text.size() && text[text.size() - 1 - n_padding] == '=') ++n_padding;
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const size_t n = i + 4 == text.size() ? 4 - n_padding : 4;
    uint32_t word = 0;
    for (size_t j = 0; j < 4; ++j) {
      const size_t digit = j < n ? kBase64Digits.find(text[i + j]) : 0;
      if (digit == std::string_view::npos) throw broken;
      word = word << 6 | static_cast<uint32_t>(digit);
    }
    for (size_t j = 0; j + 1 < n; ++j) bytes.push_back(static_cast<uint8_t>(word >> (16 - 8 * j)));
  }
  return bytes;
}

}  // namespace lockstep
