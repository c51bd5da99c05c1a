// Bytes as text (RFC 4648, with padding).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

std::string to_base64(std::string_view bytes);
/// Throws Error naming `where` for text that is no base64.
std::vector<uint8_t> from_base64(std::string_view text, const std::string& where);

}  // namespace lockstep
