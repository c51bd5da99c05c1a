// Bytes written as visible characters, as GPT-2 writes them in its files (Radford et al., "Language Models
// are Unsupervised Multitask Learners", 2019): printable Latin-1 stands for itself, the other 68 bytes are
// U+0100 and the following, so that a blank is Ġ and a line feed Ċ.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

/// The UTF-8 text that stands for a byte.
const std::string& byte_character(uint8_t byte);

/// Each byte of `bytes` by its character.
std::string byte_characters(std::string_view bytes);

/// The bytes that a token of such characters stands for; the token itself where one of its characters stands
/// for no byte, as in "<|a b|>".
std::string bytes_of_token(std::string_view token);
/// Whether all its characters stand for bytes.
bool is_byte_token(std::string_view token);

/// Whether a character, as UTF-8, is of Unicode's White_Space.
bool is_white_space(std::string_view character);

/// `bytes` as UTF-8: U+FFFD for each maximal part of it that begins no character (Unicode 15, section 3.9).
std::string utf8_with_replacements(std::string_view bytes);

/// The first byte that begins no UTF-8 character; text.size() where there is none.
int64_t first_byte_beyond_utf8(std::string_view text);

}  // namespace lockstep
