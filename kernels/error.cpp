#include "kernels/error.h"

#include "kernels/printable.h"

namespace lockstep {

namespace {
std::string join(const std::string& where, const std::string& what, const std::string& remedy) {
  std::string text = where.empty() ? what : where + ": " + what;
  if (!remedy.empty()) text += "\n  remedy: " + remedy;
  return printable_lines(text);
}
}  // namespace

Error::Error(std::string where, std::string what, std::string remedy)
    : std::runtime_error(join(where, what, remedy)),
      where_(std::move(where)),
      reason_(std::move(what)),
      remedy_(std::move(remedy)) {}

}  // namespace lockstep
