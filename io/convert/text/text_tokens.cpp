#include "io/convert/text/text_tokens.h"

#include <algorithm>

#include "kernels/printable.h"

namespace lockstep {

namespace {

/// Bytes of the character that begins with this one, as far as it tells.
int64_t n_character_bytes(char byte) {
  const auto first = static_cast<unsigned char>(byte);
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

uint32_t code_point(std::string_view character) {
  auto code = static_cast<uint32_t>(static_cast<unsigned char>(character[0]));
  if (character.size() > 1) code &= 0x7Fu >> character.size();
  for (const char c : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(c) & 0x3Fu);
  return code;
}

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

enum class CharacterKind : uint8_t { kSpace, kLineFeed, kWord, kApostrophe, kOther };

CharacterKind kind_of(uint32_t code) {
  if (code == '\n') return CharacterKind::kLineFeed;
  if (code == '\'' || code == 0x2019) return CharacterKind::kApostrophe;
  if (code < 0x80) {
    const auto c = static_cast<char>(code);
    if (is_ascii_space(c)) return CharacterKind::kSpace;
    const bool is_word =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    return is_word ? CharacterKind::kWord : CharacterKind::kOther;
  }
  const bool is_space = code == 0x85 || code == 0xA0 || code == 0x1680 ||
                        (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
                        code == 0x202F || code == 0x205F || code == 0x3000;
  if (is_space) return CharacterKind::kSpace;
  const bool is_letter_in_latin = code == 0xAA || code == 0xB5 || code == 0xBA;
  const bool is_punctuation = (code >= 0xA1 && code <= 0xBF && !is_letter_in_latin) ||
                              (code >= 0x2010 && code <= 0x205E) || (code >= 0x3001 && code <= 0x303F) ||
                              (code >= 0xFF01 && code <= 0xFF0F);
  return is_punctuation ? CharacterKind::kOther : CharacterKind::kWord;
}

struct Character {
  CharacterKind kind = CharacterKind::kSpace;
  int64_t n_bytes = 0;  // 0: the text ends
};

Character character_at(std::string_view text, int64_t at) {
  if (at >= static_cast<int64_t>(text.size())) return {};
  const int64_t n = n_character_bytes(text[static_cast<size_t>(at)]);
  return {kind_of(code_point(text.substr(static_cast<size_t>(at), static_cast<size_t>(n)))), n};
}

/// Where the word that begins at `at` ends.
int64_t word_end(std::string_view text, int64_t at) {
  for (;;) {
    const Character c = character_at(text, at);
    if (c.kind == CharacterKind::kWord) {
      at += c.n_bytes;
      continue;
    }
    const bool joins = c.kind == CharacterKind::kApostrophe &&
                       character_at(text, at + c.n_bytes).kind == CharacterKind::kWord;
    if (!joins) return at;
    at += c.n_bytes;
  }
}

}  // namespace

void each_token(TokenLevel level, std::string_view text,
                const std::function<void(std::string_view, int64_t)>& visit) {
  const auto n = static_cast<int64_t>(text.size());
  for (int64_t at = 0, end = 0; at < n; at = end) {
    const auto token = [&] { return text.substr(static_cast<size_t>(at), static_cast<size_t>(end - at)); };
    if (level == TokenLevel::kCharacters) {
      end = at + n_character_bytes(text[static_cast<size_t>(at)]);
      visit(token(), at);
      continue;
    }
    const Character c = character_at(text, at);
    end = c.kind == CharacterKind::kWord ? word_end(text, at) : at + c.n_bytes;
    if (c.kind == CharacterKind::kSpace) continue;
    visit(c.kind == CharacterKind::kLineFeed ? kEndOfLine : token(), at);
  }
}

int64_t first_invalid_byte(std::string_view text) {
  const size_t zero = std::min(text.find('\0'), text.size());
  const std::string_view before = text.substr(0, zero);
  if (is_utf8(before)) return static_cast<int64_t>(zero);
  size_t at = 0;
  while (at < before.size()) {
    const auto n = static_cast<size_t>(n_character_bytes(before[at]));
    if (!is_utf8(before.substr(at, n))) break;
    at += n;
  }
  return static_cast<int64_t>(at);
}

std::string with_replacements(std::string_view text) {
  std::string out;
  for (;;) {
    const auto n = static_cast<size_t>(first_invalid_byte(text));
    out += text.substr(0, n);
    if (n == text.size()) return out;
    out += "\xEF\xBF\xBD";
    text.remove_prefix(n + 1);
  }
}

bool may_cut_before(TokenLevel level, char byte) {
  return level == TokenLevel::kWords ? is_ascii_space(byte) : (byte & 0xC0) != 0x80;
}

}  // namespace lockstep
