// Text as tokens: characters, or words by one plain rule.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lockstep {

enum class TokenLevel : uint8_t { kCharacters, kWords };

/// "<eol>": the token of a line's end among words.
inline constexpr std::string_view kEndOfLine = "<eol>";

/// Calls visit(token, offset) for each token of `text`, which is valid UTF-8; offset: of its first byte.
/// Characters: each code point. Words: white space (of Unicode) separates and is no token, but for a line
/// feed, which is kEndOfLine. A word is a run of ASCII letters, digits, '_' and characters beyond ASCII other
/// than white space and punctuation (U+00A1 to U+00BF but for ª, µ and º, U+2010 to U+205E, U+3001 to U+303F,
/// U+FF01 to U+FF0F); an apostrophe (' or ’) between two of these belongs to it. Every other character is a
/// token by itself.
void each_token(TokenLevel level, std::string_view text,
                const std::function<void(std::string_view, int64_t)>& visit);

/// The first byte that begins no UTF-8 character, or is zero, which no text holds; text.size() where there is
/// none.
int64_t first_invalid_byte(std::string_view text);
/// `text` with U+FFFD for each such byte.
std::string with_replacements(std::string_view text);

/// Whether a text may be cut before this byte without cutting a token: an ASCII white space for words, any
/// byte that begins a character for characters.
bool may_cut_before(TokenLevel level, char byte);

}  // namespace lockstep
