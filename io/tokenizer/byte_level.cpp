#include "io/tokenizer/byte_level.h"

#include <array>

namespace lockstep {

namespace {

constexpr uint32_t kMostCode = 0x143;  // of the 256 characters

bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Table {
  std::array<std::string, 256> character_of;
  std::array<int16_t, kMostCode + 1> byte_of{};  // by code point; -1: none
  Table() {
    byte_of.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t code = stands_for_itself(byte) ? byte : next++;
      byte_of[code] = static_cast<int16_t>(byte);
      if (code < 0x80) {
        character_of[byte] = std::string(1, static_cast<char>(code));
      } else {
        character_of[byte] = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
    }
  }
};

const Table& table() {
  static const Table the_table;
  return the_table;
}

/// Appends the bytes; false where a character stands for none.
bool append_bytes(std::string_view token, std::string* bytes) {
  for (size_t i = 0; i < token.size(); ++i) {
    auto code = static_cast<uint32_t>(static_cast<unsigned char>(token[i]));
    if (code >= 0xC2 && code <= 0xDF && i + 1 < token.size())
      code = (code & 0x1F) << 6 | (static_cast<unsigned char>(token[++i]) & 0x3FU);
    else if (code >= 0x80)
      return false;
    if (code > kMostCode || table().byte_of[code] < 0) return false;
    if (bytes) *bytes += static_cast<char>(table().byte_of[code]);
  }
  return true;
}

/// Bytes of the character at the start of `text`; where there is none, minus the bytes that one U+FFFD stands
/// for.
int length_of_character(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return -1;
  const int n = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  const unsigned char lowest = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char highest = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < lowest || byte(1) > highest) return -1;
  for (int i = 2; i < n; ++i)
    if ((byte(static_cast<size_t>(i)) & 0xC0) != 0x80) return -i;
  return n;
}

}  // namespace

const std::string& byte_character(uint8_t byte) { return table().character_of[byte]; }

std::string byte_characters(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += byte_character(static_cast<uint8_t>(byte));
  return text;
}

std::string bytes_of_token(std::string_view token) {
  std::string bytes;
  return append_bytes(token, &bytes) ? bytes : std::string(token);
}

bool is_byte_token(std::string_view token) { return append_bytes(token, nullptr); }

bool is_white_space(std::string_view character) {
  if (character.size() == 1) return character == " " || (character[0] >= '\t' && character[0] <= '\r');
  if (character.size() == 2) return character == "\xC2\x85" || character == "\xC2\xA0";
  if (character.size() != 3) return false;
  return character == "\xE1\x9A\x80" || (character >= "\xE2\x80\x80" && character <= "\xE2\x80\x8A") ||
         character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9" || character == "\xE2\x80\xAF" ||
         character == "\xE2\x81\x9F" || character == "\xE3\x80\x80";
}

std::string utf8_with_replacements(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const int n = length_of_character(bytes);
    const auto n_bytes = static_cast<size_t>(n < 0 ? -n : n);
    text += n < 0 ? "\xEF\xBF\xBD" : bytes.substr(0, n_bytes);
    bytes.remove_prefix(n_bytes);
  }
  return text;
}

int64_t first_byte_beyond_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const int n = length_of_character(text.substr(at, 4));
    if (n < 0) break;
    at += static_cast<size_t>(n);
  }
  return static_cast<int64_t>(at);
}

}  // namespace lockstep
