#include "src/run/generate/tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/tokenizer/byte_level.h"

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

TokenText::TokenText(const DataContract& contract, const std::string& name)
    : TokenText(contract.vocabularies.count(name) ? contract.vocabularies.at(name)
                                                  : std::vector<std::string>{}) {
  const auto found = contract.tokenizers.find(name);
  if (found == contract.tokenizers.end()) return;
  tokenizer_ = std::make_shared<Tokenizer>(Tokenizer::parse(found->second, "the checkpoint's tokenizer"));
  if (tokenizer_->size() != static_cast<int64_t>(vocabulary_.size()))
    throw Error("the checkpoint's tokenizer",
                fmt::format("has {} tokens, its vocabulary {}", tokenizer_->size(), vocabulary_.size()),
                "use a checkpoint written by training");
}

int64_t TokenText::end() const {
  const std::vector<const char*> words =
      tokenizer_ ? std::vector<const char*>{"</s>", "<|endoftext|>", "<|end_of_text|>"}
                 : std::vector<const char*>{"</s>"};
  for (const char* word : words)
    if (const int64_t id = find(word); id >= 0) return id;
  return -1;
}

int64_t TokenText::find(const std::string& token) const {
  const auto found =
      std::lower_bound(sorted_.begin(), sorted_.end(), std::pair<std::string, int64_t>(token, -1));
  return found != sorted_.end() && found->first == token ? found->second : -1;
}

std::vector<int64_t> TokenText::encode(const std::string& text) const {
  if (const int64_t at = first_invalid_byte(text); at < static_cast<int64_t>(text.size()))
    throw Error("the text", fmt::format("byte {} begins no UTF-8 character", at), "give it as UTF-8");
  if (tokenizer_) {
    const std::vector<int32_t> ids = tokenizer_->encode(text);
    return {ids.begin(), ids.end()};
  }
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
  if (tokenizer_) return tokenizer_->bytes_of(static_cast<int32_t>(id));
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
  return tokenizer_ ? utf8_with_replacements(text) : text;
}

}  // namespace lockstep
