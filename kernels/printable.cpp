#include "kernels/printable.h"

#include <cstdint>
#include <cstdio>

namespace lockstep {

namespace {

/// Bytes of the UTF-8 character that begins at `at` (RFC 3629); 0 where none does.
size_t character_bytes(std::string_view text, size_t at, uint32_t& code) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const auto first = byte(0);
  if (first < 0x80) return code = first, 1;
  const size_t n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  code = first & (0x7F >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool too_long = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
  return too_long || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? 0 : n;
}

bool is_shown(uint32_t code) {
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool turns = code == 0x061C || code == 0x200E || code == 0x200F ||
                     (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  return !control && !turns;
}

std::string escape(std::string_view text, bool keeps_lines) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    uint32_t code = 0;
    const size_t n = character_bytes(text, at, code);
    const bool is_layout = keeps_lines && n == 1 && (code == '\n' || code == '\t');
    const std::string_view bytes = text.substr(at, n == 0 ? 1 : n);
    at += bytes.size();
    if (n > 0 && (is_layout || is_shown(code))) {
      out += bytes;
      continue;
    }
    for (const char c : bytes) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02X", static_cast<unsigned char>(c));
      out += escaped;
    }
  }
  return out;
}

}  // namespace

bool is_utf8(std::string_view text) {
  uint32_t code = 0;
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    n = character_bytes(text, at, code);
    if (n == 0) return false;
  }
  return true;
}

std::string printable(std::string_view text) { return escape(text, false); }
std::string printable_lines(std::string_view text) { return escape(text, true); }

}  // namespace lockstep
