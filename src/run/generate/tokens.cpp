#include "src/run/generate/tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

bool is_special(const std::string& token) {
  return token.size() > 2 && token.front() == '<' && token.back() == '>';
}

/// Bytes of the first character.
size_t n_bytes_of_first(const std::string& text) {
  size_t n = 1;
  while (n < text.size() && (static_cast<unsigned char>(text[n]) & 0xC0U) == 0x80U) ++n;
  return n;
}

bool stands_in(const std::string& token, const char* set) {
  return token.size() == 1 && std::string_view(set).find(token[0]) != std::string_view::npos;
}

}  // namespace

TokenText::TokenText(std::vector<std::string> vocabulary) : vocabulary_(std::move(vocabulary)) {
  for (size_t i = 0; i < vocabulary_.size(); ++i) {
    const std::string& token = vocabulary_[i];
    sorted_.emplace_back(token, static_cast<int64_t>(i));
    if (!is_special(token) && !token.empty() && n_bytes_of_first(token) < token.size())
      level_ = TokenLevel::kWords;
  }
  std::sort(sorted_.begin(), sorted_.end());
}

int64_t TokenText::find(const std::string& token) const {
  const auto found =
      std::lower_bound(sorted_.begin(), sorted_.end(), std::pair<std::string, int64_t>(token, -1));
  return found != sorted_.end() && found->first == token ? found->second : -1;
}

std::vector<int64_t> TokenText::encode(const std::string& text) const {
  if (const int64_t at = first_invalid_byte(text); at < static_cast<int64_t>(text.size()))
    throw Error("the text", fmt::format("byte {} begins no UTF-8 character", at), "give it as UTF-8");
  std::vector<int64_t> ids;
  const int64_t unknown = find("<unk>");
  each_token(level_, text, [&](std::string_view token, int64_t offset) {
    const int64_t id = find(std::string(token));
    if (id < 0 && unknown < 0)
      throw Error("the text",
                  fmt::format("'{}' at byte {} is none of the {} tokens that the network knows",
                              printable(std::string(token)), offset, vocabulary_.size()),
                  "use characters of the training text");
    ids.push_back(id < 0 ? unknown : id);
  });
  return ids;
}

std::string TokenText::decode(int64_t id, int64_t before) const {
  const std::string& token = vocabulary_.at(static_cast<size_t>(id));
  if (token == "<s>" || token == "</s>" || token == "<pad>") return "";
  if (level_ == TokenLevel::kCharacters) return token;
  if (token == kEndOfLine) return "\n";
  const std::string last = before < 0 ? "" : vocabulary_.at(static_cast<size_t>(before));
  const bool joins = before < 0 || last == kEndOfLine || is_special(last) || stands_in(token, ",.;:!?)]}%") ||
                     stands_in(last, "([{$");
  return (joins ? "" : " ") + token;
}

std::string TokenText::decode(const std::vector<int64_t>& ids) const {
  std::string text;
  int64_t before = -1;
  for (const int64_t id : ids) {
    text += decode(id, before);
    before = id;
  }
  return text;
}

}  // namespace lockstep
