// Texts as the ids that a network was trained on, and ids as text again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/convert/text/text_tokens.h"
#include "io/tokenizer/tokenizer.h"
#include "src/data/data.h"

namespace lockstep {

class TokenText {
 public:
  /// What each id stands for. Characters, if no token but those in <…> is longer than one; else words.
  explicit TokenText(std::vector<std::string> vocabulary);
  /// Of an input of a network, or of its target (""): by its tokenizer, or else by its vocabulary, which may
  /// be empty.
  TokenText(const DataContract& contract, const std::string& name);

  /// Throws Error naming the first token that the vocabulary lacks, where it has no <unk>.
  std::vector<int64_t> encode(const std::string& text) const;
  /// What stands behind `before` (-1: nothing): words with the spaces that people put there, characters as
  /// they are; nothing for <s>, </s> and <pad>.
  /// Of a tokenizer the bytes of the id, which may end within a character.
  std::string decode(int64_t id, int64_t before) const;
  std::string decode(const std::vector<int64_t>& ids) const;
  /// The id of a token; -1: there is none.
  int64_t find(const std::string& token) const;
  /// The token that ends a text; -1: there is none.
  int64_t end() const;

 private:
  std::vector<std::string> vocabulary_;
  std::vector<std::pair<std::string, int64_t>> sorted_;
  TokenLevel level_ = TokenLevel::kCharacters;
  std::shared_ptr<Tokenizer> tokenizer_;  // null: there is none
};

}  // namespace lockstep
