#include "kernels/error.h"

#include <cstdio>

namespace lockstep {

namespace {
/// Names in foreign files may hold anything, also what would end the text or command a terminal.
std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0x20 && byte != 0x7F) || c == '\n' || c == '\t') {
      out += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02X", byte);
      out += escaped;
    }
  }
  return out;
}

std::string join(const std::string& where, const std::string& what, const std::string& remedy) {
  std::string text = where.empty() ? what : where + ": " + what;
  if (!remedy.empty()) text += "\n  remedy: " + remedy;
  return printable(text);
}
}  // namespace

Error::Error(std::string where, std::string what, std::string remedy)
    : std::runtime_error(join(where, what, remedy)),
      where_(std::move(where)),
      reason_(std::move(what)),
      remedy_(std::move(remedy)) {}

}  // namespace lockstep
