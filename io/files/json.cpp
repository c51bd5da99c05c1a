// JSON text: numbers by std::to_chars (the shortest that reads back as the same bits),
// strings escaped and always valid UTF-8, so that every JSON reader takes the file.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "io/files/metrics.h"

namespace lockstep {

namespace {

/// Bytes of the well-formed UTF-8 sequence at the start of `text` (Unicode, table 3-7); 0 if
/// there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const auto is_tail = [&](size_t i) { return byte(i) >= 0x80 && byte(i) <= 0xBF; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool too_long = first == 0xE0 && byte(1) < 0xA0, surrogate = first == 0xED && byte(1) > 0x9F;
    return is_tail(1) && is_tail(2) && !too_long && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool too_long = first == 0xF0 && byte(1) < 0x90, too_large = first == 0xF4 && byte(1) > 0x8F;
    return is_tail(1) && is_tail(2) && is_tail(3) && !too_long && !too_large ? 4 : 0;
  }
  return 0;
}

template <typename T>
std::string to_text(T value) {
  char text[40];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";  // not UTF-8: the replacement character
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out += '"';
}

std::string json_number(double value) { return std::isfinite(value) ? to_text(value) : "null"; }

JsonObject& JsonObject::set(std::string_view key, double value) { return set_raw(key, json_number(value)); }
JsonObject& JsonObject::set(std::string_view key, int64_t value) { return set_raw(key, to_text(value)); }
JsonObject& JsonObject::set(std::string_view key, std::string_view value) {
  return set_raw(key, json_quote(value));
}
JsonObject& JsonObject::set(std::string_view key, bool value) {
  return set_raw(key, value ? "true" : "false");
}

JsonObject& JsonObject::set_raw(std::string_view key, std::string json) {
  for (auto& [name, text] : items_) {
    if (name != key) continue;
    text = std::move(json);
    return *this;
  }
  items_.emplace_back(key, std::move(json));
  return *this;
}

std::string JsonObject::str() const {
  std::string out = "{";
  for (const auto& [key, json] : items_) {
    if (out.size() > 1) out += ", ";
    out += json_quote(key) + ": " + json;
  }
  return out += '}';
}

}  // namespace lockstep
